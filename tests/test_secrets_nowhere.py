"""Secrets go nowhere: planted in the environment and under Colab's key symbol, they are in nothing that a job leaves.

Three jobs: the training notebook on Colab's stand-in, the command line (pictures by a job file, and errors provoked by a
bad token and a dead proxy), and the web UI's notebook with the studio. Looked through for each: what it shows, every file below
its folders, the command lines of all its processes, and the environments of all that fsd started.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from hub_home import Home
from hub_stand_in import constants, hub_server
from micro import draw_photos
from notebook_runner import ROOT, STAND_IN, code_cells, error, filled, printed, run_cells, shown
from planted import ALL, IN_ENVIRONMENT, ON_THE_HUB, Seen, planted_in, watched

from fsd.runtime.secrets import NAMES

JOBS = ("training", "command_line", "web_ui")
FORM: dict[str, dict[str, Any]] = {
    "open_session": {"name": "cup"},
    "add_photos": {"identifier": "sks", "class_word": "cup", "hold_out": 0},
    "train_text_encoder": {"steps": 0},
    "train_unet": {"steps": 1},
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


def places_in(folder: Path, *names: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Folders for a job, and the variables that make it use them."""
    places = {name: folder / name for name in ("work", "home", "temporary", *names)}
    for name in ("work", "home", "temporary"):
        places[name].mkdir()
    variables = {"HOME": str(places["home"]), "TMPDIR": str(places["temporary"])}
    return places, variables | {"XDG_CACHE_HOME": str(places["home"] / ".cache"), "FSD_TEST_MARK": folder.name}


def left(cells: list[Any], places: dict[str, Path], seen: Seen, password: str = "") -> SimpleNamespace:
    text = nbformat.writes(nbformat.v4.new_notebook(cells=cells)).encode()
    secrets = ALL | ({"password": password} if password else {})
    return SimpleNamespace(cells=cells, text=text, places=places, seen=seen, secrets=secrets)


@pytest.fixture(scope="module")
def training(micro_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The whole notebook with secrets planted, and everything that it left behind."""
    folder = tmp_path_factory.mktemp("training")
    places, variables = places_in(folder, "drive")
    photos = draw_photos(folder / "photos", 2)
    cells = code_cells(ROOT / "notebooks" / "fast_dreambooth.ipynb")
    form = FORM | {"choose_base_model": {"base_model": str(micro_model), "family": "tiny"}}
    first = SimpleNamespace(source=PLANT.format(planted=ON_THE_HUB, mount=str(places["drive"])))
    typed = [filled(cell, **form.get(verb, {})) for verb, cell in cells.items() if verb != "generate"]
    quick = SimpleNamespace(
        source="from fsd.upkeep import change_settings\nchange_settings(session, 'samples.at_end=false')"
    )
    with watched() as seen:
        done = run_cells(
            [first, *typed[:2], quick, *typed[2:], SimpleNamespace(source=EXAMINE)], places["work"], [ROOT, STAND_IN],
            COLAB_STAND_IN_UPLOADS=str(photos), **variables, **IN_ENVIRONMENT,
        )  # fmt: skip
    return left(done[1:], places, seen)


@pytest.fixture(scope="module")
def command_line(training: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Pictures by a job file in the same session, the doctor, and what goes wrong: a token refused, a dead proxy."""
    folder = tmp_path_factory.mktemp("command")
    places, variables = places_in(folder, "hub")
    places["hub"].mkdir()
    places["drive"] = training.places["drive"]
    root = str(places["drive"] / "MyDrive")
    job = {"session": "cup", "root": root, "class_word": "cup", "stages": ["generate"], "pictures": {"steps": 1}}
    (places["work"] / "job.json").write_text(json.dumps(job))
    environment = os.environ | variables | IN_ENVIRONMENT | ON_THE_HUB
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "0", "FSD_HOME": ""}
    ended: list[subprocess.CompletedProcess[bytes]] = []

    def fsd(*words: str, **more: str) -> None:
        command = [sys.executable, "-m", "fsd", *words]
        ended.append(subprocess.run(command, capture_output=True, env=environment | more, cwd=places["work"]))

    with watched() as seen, pytest.MonkeyPatch.context() as patch:
        fsd("run", "job.json")
        fsd("doctor", "--offline")
        fsd("base-model", "https://civitai.com/models/1", CIVITAI_TOKEN=f"{ALL['CIVITAI_TOKEN']} twice")
        fsd("base-model", "me/model")
        for hub in hub_server(places["hub"], folder / "cache", patch, Home):
            hub.refused["me"] = (401, "")
            at = {"HF_ENDPOINT": constants.ENDPOINT, "NO_PROXY": "127.0.0.1"}
            fsd("base-model", "me/model", **at)
            fsd("publish", "cup", "me/cup", "--root", root, **at)
            tokens = hub.tokens
    text = b"\n".join(one.stdout + one.stderr for one in ended)
    return SimpleNamespace(ended=ended, text=text, places=places, seen=seen, secrets=ALL, tokens=tokens)


@pytest.fixture(scope="module")
def web_ui(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The studio launched from its notebook; its password is told to the test alone."""
    folder = tmp_path_factory.mktemp("web")
    places, variables = places_in(folder)
    cells = code_cells(ROOT / "notebooks" / "fast_webui.ipynb")
    tell = SimpleNamespace(
        source=f"from pathlib import Path\n_ = Path({str(folder / 'told')!r}).write_text(webui.password)"
    )
    forms = {"launch_web_ui": {"model": "tiny"}, "logs": {"lines": 20}}
    names = ("setup", "launch_web_ui", "new_login_link", "logs", "stop")
    setup, launch, *rest = (filled(cells[name], **forms.get(name, {})) for name in names)
    with watched() as seen:
        done = run_cells(
            [setup, launch, tell, *rest], places["work"], [ROOT], **variables, **IN_ENVIRONMENT, **ON_THE_HUB
        )
    return left(done, places, seen, password=(folder / "told").read_text())


@pytest.fixture
def job(request: pytest.FixtureRequest) -> SimpleNamespace:
    return request.getfixturevalue(request.param)


def test_the_notebook_did_its_job(training: SimpleNamespace) -> None:
    for cell in training.cells:
        assert error(cell) == "", cell.source
    assert list((training.places["drive"] / "MyDrive").rglob("cup.safetensors"))
    for name in NAMES:
        assert f"{name}: present" in shown(training.cells[-1])
    started = b"\n".join(training.seen.lines)
    assert b"fsd.train.unet" in started and b"fsd.runtime.packages.validate" in started


def test_the_command_line_did_its_job_and_met_the_errors(command_line: SimpleNamespace) -> None:
    done, _, *failed = command_line.ended
    assert done.returncode == 0, done.stderr
    assert [one.returncode for one in failed] == [1, 1, 1, 1]
    said = ("CIVITAI_TOKEN holds", "the hub cannot be reached", "me/model is gone from the hub, or private (401)")
    said = (*said, "does not let this token write to me/cup (401)")
    for one, words in zip(failed, said, strict=True):
        assert one.stderr.startswith(b"fsd: ") and words.encode() in one.stderr, one.stderr
    assert command_line.tokens == {f"Bearer {ALL['HF_TOKEN']}"}  # the hub was shown it, and nobody else
    assert any(b"fsd.generate.sample" in line for line in command_line.seen.lines)


def test_the_web_ui_ran(web_ui: SimpleNamespace) -> None:
    for cell in web_ui.cells:
        assert error(cell) == "", cell.source
    assert "fsd studio is ready" in printed(web_ui.cells[1]) + shown(web_ui.cells[1])
    started = b"\n".join(web_ui.seen.lines)
    assert b"fsd.webui.studio" in started and b"fsd.webui.lock.proxy" in started and b"keeper.py" in started
    assert len(web_ui.secrets["password"]) > 20


@pytest.mark.parametrize("job", JOBS, indirect=True)
def test_nothing_shown_holds_one(job: SimpleNamespace) -> None:
    assert len(job.text) > 500
    assert planted_in(job.text, job.secrets) == []


@pytest.mark.parametrize("job", JOBS, indirect=True)
def test_no_file_holds_one(job: SimpleNamespace) -> None:
    files = [path for place in job.places.values() for path in place.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert {path: found for path in files if (found := planted_in(path.read_bytes(), job.secrets))} == {}


@pytest.mark.parametrize("job", JOBS, indirect=True)
def test_no_command_line_holds_one(job: SimpleNamespace) -> None:
    assert planted_in(b"\n".join(job.seen.lines), job.secrets) == []


@pytest.mark.parametrize("job", JOBS, indirect=True)
def test_no_environment_of_a_child_holds_one(job: SimpleNamespace) -> None:
    given = b"\n".join(content for _, content in job.seen.first)
    assert set(IN_ENVIRONMENT) <= set(planted_in(given))  # whom the test started; the others are ours
    assert len(job.seen.environments) >= 1
    assert any(b"FSD_TEST_MARK" in content for content in job.seen.environments)
    assert planted_in(b"\n".join(job.seen.environments), job.secrets) == []


def test_a_planted_secret_would_be_found() -> None:
    for name, value in ALL.items():
        for hidden in (value, quote(value, safe="")):
            assert planted_in(f"...{hidden}...".encode()) == [name]
        for cut in range(3):
            assert planted_in(base64.b64encode(f"{'ab'[:cut]}{value}tail".encode())) == [name]
    assert planted_in(b"nothing") == []


@pytest.mark.parametrize("value", ["key_two\nparts", "key_ümlaut"])
def test_the_error_of_an_unusable_secret_does_not_show_it(value: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fsd", "base-model", "https://civitai.com/api/download/models/1"]
    environment = os.environ | {"CIVITAI_TOKEN": value, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("fsd: CIVITAI_TOKEN holds")
    for part in value.split():
        assert part not in ended.stderr + ended.stdout
