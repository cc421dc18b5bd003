"""Secrets go nowhere: planted in the environment and under Colab's key symbol, they are in nothing that a whole job leaves.

The job is the notebook, all cells of it, on Colab's stand-in, and the doctor. Looked through: what the cells show, every
file of the session, of Drive, of the home and of the temporary folder, the command lines of all processes meanwhile,
and their environments for what was given under the key symbol alone.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from notebook_runner import ROOT, STAND_IN, code_cells, error, filled, run_cells, shown

from fsd.runtime.secrets import NAMES

IN_ENVIRONMENT = {"NGROK_AUTHTOKEN": "2Planted+ngrok/7f", "CLOUDFLARE_TUNNEL_TOKEN": "eyPlanted+cloudflare=="}
UNDER_THE_KEY = {"HF_TOKEN": "hf_PlantedHub8c", "CIVITAI_TOKEN": "Planted+civitai/1d"}
ALL = IN_ENVIRONMENT | UNDER_THE_KEY
FORM: dict[str, dict[str, Any]] = {
    "open_session": {"name": "cup"},
    "add_photos": {"identifier": "sks", "class_word": "cup", "hold_out": 0},
    "train_text_encoder": {"steps": 1},
    "train_unet": {"steps": 1},
    "generate": {"steps": 1},
}
PLANT = """
from google.colab import userdata
def reply(request):
    planted = {planted!r}
    return {{"exists": request["key"] in planted, "access": True, "payload": planted.get(request["key"], "")}}
userdata._message.replies["GetSecret"] = reply
from pathlib import Path
from fsd.runtime import colab
colab.MOUNT_POINT = Path({mount!r})
"""
EXAMINE = """
from fsd.runtime import secrets
from fsd.runtime.doctor.examine import examine
assert all(secrets.token(name) for name in secrets.NAMES)
examine(offline=True)
"""


def forms(value: str) -> set[bytes]:
    """A secret as it may be written: plain, quoted for a link, and in base64 at each of the three places in a group."""
    found = {value.encode(), quote(value, safe="").encode()}
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + value.encode())
        found.add(encoded[4 if before else 0 : -4])
    return found


def planted_in(content: bytes, secrets: dict[str, str] = ALL) -> list[str]:
    """The names of the secrets that stand in it."""
    return [name for name, value in secrets.items() if any(form in content for form in forms(value))]


@contextmanager
def watched(mark: str) -> Iterator[dict[str, set[bytes]]]:
    """While inside: the command lines of all processes, and the environments of those that carry `mark`."""
    seen: dict[str, set[bytes]] = {"cmdline": set(), "environ": set()}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and int(process.name) != os.getpid():
                    for kind, found in seen.items():
                        try:
                            found.add((process / kind).read_bytes())
                        except OSError:
                            continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen["environ"] = {content for content in seen["environ"] if mark.encode() in content}


@pytest.fixture(scope="module")
def job(micro_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The whole notebook with secrets planted, and everything that it left behind."""
    from micro import draw_photos

    folder = tmp_path_factory.mktemp("secrets")
    places = {name: folder / name for name in ("work", "home", "temporary", "drive")}
    for name in ("work", "home", "temporary"):
        places[name].mkdir()
    photos = draw_photos(folder / "photos", 2)
    cells = code_cells(ROOT / "notebooks" / "fast_dreambooth.ipynb")
    form = FORM | {"choose_base_model": {"base_model": str(micro_model), "family": "tiny"}}
    first = SimpleNamespace(source=PLANT.format(planted=UNDER_THE_KEY, mount=str(places["drive"])))
    typed = [filled(cell, **form.get(verb, {})) for verb, cell in cells.items()]
    mark = f"FSD_TEST_MARK={folder.name}"
    with watched(mark) as seen:
        done = run_cells(
            [first, *typed, SimpleNamespace(source=EXAMINE)], places["work"], [ROOT, STAND_IN],
            COLAB_STAND_IN_UPLOADS=str(photos), HOME=str(places["home"]), TMPDIR=str(places["temporary"]),
            FSD_TEST_MARK=folder.name, **IN_ENVIRONMENT,
        )  # fmt: skip
    return SimpleNamespace(places=places, cells=done[1:], seen=seen)


def test_the_job_was_done(job: SimpleNamespace) -> None:
    for cell in job.cells:
        assert error(cell) == "", cell.source
    assert list((job.places["drive"] / "MyDrive").rglob("cup.safetensors"))
    for name in NAMES:
        assert f"{name}: present" in shown(job.cells[-1])


def test_the_notebook_shows_none(job: SimpleNamespace) -> None:
    outputs = [output for cell in job.cells for output in cell.outputs]
    assert len(outputs) > 10
    assert planted_in(nbformat.writes(nbformat.v4.new_notebook(cells=job.cells)).encode()) == []


def test_no_file_holds_one(job: SimpleNamespace) -> None:
    files = [path for place in job.places.values() for path in place.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".json", ".jsonl", ".safetensors", ".png", ".txt"} - {".txt"}
    assert {path: found for path in files if (found := planted_in(path.read_bytes()))} == {}


def test_no_command_line_holds_one(job: SimpleNamespace) -> None:
    lines = b"\n".join(job.seen["cmdline"])
    assert b"fsd.train.unet" in lines and b"fsd.generate.sample" in lines
    assert planted_in(lines) == []


def test_what_is_under_the_key_symbol_is_in_no_environment(job: SimpleNamespace) -> None:
    environments = b"\n".join(job.seen["environ"])
    assert planted_in(environments) == list(IN_ENVIRONMENT)  # these were given so, and are seen by this test
    assert len(job.seen["environ"]) >= 4


@pytest.mark.parametrize("value", ["key_two\nparts", "key and parts", "key_ümlaut"])
def test_the_error_of_an_unusable_secret_does_not_show_it(value: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fsd", "base-model", "https://civitai.com/api/download/models/1"]
    environment = os.environ | {"CIVITAI_TOKEN": value, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("fsd: CIVITAI_TOKEN holds")
    for part in value.split():
        assert part not in ended.stderr + ended.stdout


def test_a_planted_secret_would_be_found() -> None:
    for name, value in ALL.items():
        for hidden in (value, quote(value, safe="")):
            assert planted_in(f"...{hidden}...".encode()) == [name]
        for cut in range(3):
            assert planted_in(base64.b64encode(f"{'ab'[:cut]}{value}tail".encode())) == [name]
    assert planted_in(b"nothing") == []
