"""`fsd doctor`: its page on this machine, on a recorded Colab GPU image, on a broken one; nothing but the standard library."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from machines import Machine
from recorded_images import images

from fsd.runtime.doctor import examine, sources
from fsd.runtime.doctor.image import NEWEST, RECORDED
from fsd.runtime.doctor.packages import OPTIONAL
from fsd.runtime.doctor.sources import GONE, NO_TOKEN, NOT_ALLOWED, THERE, UNREACHABLE, Place

T4 = "Tesla T4, 15360 MiB, 550.54.15, 7.5"
UNRECORDED = {"aiohttp": "3.10", "matplotlib": "3.8", "tqdm": "4.66"}
"""Packages that training and the web UI need and whose versions in Colab's image are not recorded: the least that will do."""


def show(name: str, page: str) -> None:
    """Keep a page for a person to look at, in the folder that FSD_PAGES names."""
    if folder := os.environ.get("FSD_PAGES"):
        (Path(folder) / f"{name}.txt").write_text(page + "\n")


def steps(page: str) -> list[str]:
    return re.findall(r"(?m)^  \d+\. (.+)$", page)


def colab_image(folder: Path) -> Machine:
    newest = next(image for image in images() if image.name == NEWEST)
    machine = Machine(folder, UNRECORDED | newest.packages, colab=True, gpu=T4)
    machine.facts["python"] = newest.python
    return machine


# --- three images ----------------------------------------------------------------------------------------------------


def test_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FSD_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    found = examine.examine(offline=True)
    show("this-machine", found.text)
    assert found.text.startswith("fsd doctor: fsd ")
    assert f"Python    {sys.version.split()[0]}" in found.text
    assert "torch " in found.text and "not on Google Drive" in found.text
    assert found["training_would_work"] is found["webui_would_work"] is True
    assert found.exit_code == 0
    assert json.loads(json.dumps(found)) == found


def test_a_colab_image_with_a_gpu(tmp_path: Path) -> None:
    machine = colab_image(tmp_path)
    machine.mount_drive()
    found = machine.doctor()
    page = found["page"]
    show("colab-2026-08-19-T4", page)
    assert found["exit_code"] == 0
    assert "Tesla T4, 15360 MiB, driver 550.54.15" in page
    assert "torch 2.11.0+cu128, diffusers 0.39.0, transformers 5.15.0" in page
    assert re.search(r"Drive     mounted, 9\.00 GB free", page)
    wanted = [line for profile in ("train", "webui") for line in found["figures"]["packages"][profile]["to_install"]]
    assert {re.split("[<>=]", line)[0] for line in wanted} == OPTIONAL.keys()
    notebook = " (in a notebook: the first cell)"
    assert steps(page) == [f"fsd setup train{notebook}", f"fsd setup webui{notebook}"]
    assert "next steps" not in page and "worth doing" in page
    assert "Google Colab as recorded 2026-08-19" in page
    assert "Colab forbids deepfakes" in page and "paid compute units" in page


def test_a_broken_image_tells_the_next_steps(tmp_path: Path) -> None:
    machine = colab_image(tmp_path)
    machine.mount_drive()
    next((tmp_path / "packages").glob("torch-*")).joinpath("METADATA").unlink()
    machine.facts |= {"free": 300_000_000, "dead": True}
    found = machine.doctor()
    page = found["page"]
    show("broken", page)
    assert found["exit_code"] == 1
    for job in ("training", "web UI"):
        assert re.search(rf"(?m)^{job} +WOULD NOT WORK before steps 1, 2 and 3$", page)
    for reason in ("torch is not installed", "the disk is full: 300.0 MB free", "Google Drive is dead"):
        assert f"because {reason}" in page
    first, second, third, *_ = steps(page)
    assert "delete what you do not need" in first
    assert "run the cell 'Open session': it mounts Drive again" in second
    assert third.startswith("fsd setup train")
    assert "Transport endpoint is not connected" in page


# --- what stops what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("without", "exit_code", "step"), [("gradio", 3, "fsd setup webui"), ("torch", 1, "fsd setup train")]
)
def test_a_missing_package_stops_what_needs_it(tmp_path: Path, without: str, exit_code: int, step: str) -> None:
    newest = next(image for image in images() if image.name == NEWEST)
    packages = {name: version for name, version in (UNRECORDED | newest.packages).items() if name != without}
    found = Machine(tmp_path, packages, gpu=T4).doctor()
    assert found["exit_code"] == exit_code
    assert steps(found["page"])[0] == step
    assert f"because {without} is not installed" in found["page"]


def test_an_old_package_is_named_with_its_range(tmp_path: Path) -> None:
    newest = next(image for image in images() if image.name == NEWEST)
    found = Machine(tmp_path, UNRECORDED | newest.packages | {"transformers": "4.57.6"}, gpu=T4).doctor()
    assert "transformers is 4.57.6, not >=5.0" in found["page"]
    assert found["exit_code"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drive_free": 1000}, "empty its bin"),
        ({"free": 5_000_000_000}, "free some disk before you train one"),
    ],
)
def test_little_room_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    machine = colab_image(tmp_path)
    machine.mount_drive()
    machine.facts |= change
    assert any(said in step for step in steps(machine.doctor()["page"]))


def test_no_gpu_and_no_drive_on_colab(tmp_path: Path) -> None:
    newest = next(image for image in images() if image.name == NEWEST)
    page = Machine(tmp_path, UNRECORDED | newest.packages, colab=True).doctor()["page"]
    assert "Change runtime type > T4 GPU" in page
    assert "run the cell 'Open session': it mounts Drive" in page
    assert not (tmp_path / "drive").exists()


def test_an_old_driver_is_said(tmp_path: Path) -> None:
    found = Machine(tmp_path, UNRECORDED | {"torch": "2.11.0+cu128"}, gpu=T4.replace("550", "470")).doctor()
    assert "update the driver to 525 or newer" in found["page"]


def test_the_standard_library_is_enough(tmp_path: Path) -> None:
    """In a bare interpreter: nothing of the doctor's, nor of what it imports, comes from a package."""
    found = Machine(tmp_path, {}).doctor()
    assert found["exit_code"] == 1
    tops = {name.partition(".")[0] for name in found["loaded"]} - {"__main__", "fsd", "google", "__mp_main__"}
    assert tops <= set(sys.stdlib_module_names) | {name for name in tops if name.startswith("_")}


def test_secrets_are_only_counted(tmp_path: Path) -> None:
    planted = {"HF_TOKEN": "hf_Planted1", "NGROK_AUTHTOKEN": "planted two", "HTTPS_PROXY": "http://me:planted3@host:1"}
    found = Machine(tmp_path, {}).doctor(**planted)
    assert "HF_TOKEN: present\n" in found["page"]
    assert "NGROK_AUTHTOKEN: present, but unusable" in found["page"]
    assert "CIVITAI_TOKEN: not set" in found["page"]
    assert "HTTPS_PROXY" in found["page"]
    assert "planted" not in json.dumps(found).lower().replace("/planted", "")


def test_the_recorded_images_are_known_by_name() -> None:
    known = {
        image.name: (image.python.rpartition(".")[0], image.packages["torch"].partition("+")[0]) for image in images()
    }
    assert known == RECORDED


# --- download sources ------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Any:
    """A server that answers HEAD with the status in the path; `asked` holds (method, path, token)."""
    asked: list[tuple[str, str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append((self.command, self.path, self.headers.get("Authorization", "")))
            status, _, rest = self.path[1:].partition("/")
            self.send_response(int(status))
            if status in ("301", "302"):
                self.send_header("Location", rest if "://" in rest else f"/{rest}")
            if rest == "repo-gone":
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.asked = asked  # type: ignore[attr-defined]
    thread = Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def address(server: Any) -> Callable[[str], str]:
    return lambda path: f"http://127.0.0.1:{server.server_port}/{path}"


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("200/file", THERE), ("401/gated", NO_TOKEN), ("403/not-accepted", NOT_ALLOWED), ("404/gone", GONE),
        ("410/gone", GONE), ("401/repo-gone", GONE), ("301/200/moved", THERE), ("301/404/moved", GONE),
        ("302/https://store.invalid/signed", THERE), ("500/fault", "other"), ("301/301/301/301/301/301/x", "other"),
    ],
)  # fmt: skip
def test_answers_are_told_apart(address: Callable[[str], str], path: str, state: str) -> None:
    (found,) = sources.check([Place("models", "one", (address(path),))], {})
    assert found.answers == ((address(path), state),)
    assert found.usable is (state == THERE)


def test_each_mirror_is_asked_once_by_head(server: Any, address: Callable[[str], str]) -> None:
    places = [Place("a", str(number), (address("404/x"), address("200/y"))) for number in range(3)]
    assert all(one.usable for one in sources.check(places, {}))
    assert sorted(server.asked) == [("HEAD", "/200/y", ""), ("HEAD", "/404/x", "")]


def test_a_dead_host_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def head(url: str, token: str) -> Any:
        tried.append(url)
        raise TimeoutError

    monkeypatch.setattr(sources, "_head", head)
    monkeypatch.setattr(sources, "_AT_ONCE", 1)
    places = [Place("a", str(number), (f"https://dead.invalid/{number}",)) for number in range(50)]
    assert {state for one in sources.check(places, {}) for _, state in one.answers} == {UNREACHABLE}
    assert len(tried) == 1


def test_a_token_goes_to_its_own_site_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, str] = {}

    def head(url: str, token: str) -> Any:
        sent[url] = token
        return 200, {}

    monkeypatch.setattr(sources, "_head", head)
    urls = ("https://huggingface.co/a", "http://huggingface.co/a", "https://civitai.com/b", "https://example.org/c")
    sources.check([Place("a", "one", urls)], {"HF_TOKEN": "hf", "CIVITAI_TOKEN": "ci"})
    assert sent == dict(zip(urls, ("hf", "", "ci", ""), strict=True))


def test_the_page_names_each_faulty_mirror(
    monkeypatch: pytest.MonkeyPatch, address: Callable[[str], str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    places = [
        Place("models", "good", (address("404/first"), address("200/second"))),
        Place("models", "gated", (address("401/x"),)),
        Place("models", "refused", (address("403/x"),)),
        Place("models", "lost", (address("404/x"),)),
    ]
    monkeypatch.setattr(sources, "known_places", lambda: places)
    found = examine.examine()
    assert "models: 1 of 4 can be had" in found.text
    for words in ("good: 127.0.0.1", "gone (404)", "wants a token (401)", "(403)", "no mirror has lost"):
        assert words in found.text
    assert "accept the licence" in "".join(steps(found.text))
    assert found.exit_code == 0  # none of them is needed to train another
    assert [row["usable"] for row in found["download_sources"]["places"]] == [True, False, False, False]


def test_every_place_that_fsd_downloads_from_is_known() -> None:
    from fsd.families import FAMILIES
    from fsd.webui.flavors import FLAVORS
    from fsd.webui.places import places

    known = {one.name for one in sources.known_places()}
    assert known >= FAMILIES.keys() - {"tiny"}
    mirrors = {f"{url}.git" for place in places() for url in place.urls}
    assert mirrors >= {url for flavor in FLAVORS.values() for one in flavor.repositories for url in one.mirrors}
    assert {place.name for place in places()} >= {"cloudflared", "frpc", "ngrok"}
