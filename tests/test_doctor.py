"""`fsd doctor`: its page on this machine, on a recorded Colab GPU image, on a broken one; nothing but the standard library."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from machines import Machine
from recorded_images import images

from fsd.runtime.doctor import asking, examine, sources
from fsd.runtime.doctor.asking import GONE, NO_TOKEN, NOT_ALLOWED, REFUSED, THERE, UNREACHABLE
from fsd.runtime.doctor.image import NEWEST, RECORDED
from fsd.runtime.doctor.packages import OPTIONAL
from fsd.runtime.doctor.sources import Place

T4 = "Tesla T4, 15360 MiB, 550.54.15, 7.5"
UNRECORDED = {"aiohttp": "3.10", "matplotlib": "3.8", "tqdm": "4.66"}
"""Packages that training and the web UI need and whose versions in Colab's image are not recorded: the least that will do."""


def show(name: str, page: str) -> None:
    """Keep a page for a person to look at, in the folder that FSD_PAGES names."""
    if folder := os.environ.get("FSD_PAGES"):
        (Path(folder) / f"{name}.txt").write_text(page + "\n")


def steps(page: str) -> list[str]:
    """The steps in order, each on one line."""
    unfolded = re.sub(r"(?m)^(  \d+\. .+)\n     (?!because )(.+)$", r"\1 \2", page)
    return re.findall(r"(?m)^  \d+\. (.+)$", unfolded)


def flat(page: str) -> str:
    """The page without its line breaks."""
    return " ".join(page.split())


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
    assert found.text.startswith("training    would work")
    assert "\nmade by fsd doctor, fsd " in found.text
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
    assert page.startswith("training    would work\nweb UI      would work\n\nworth doing\n")
    assert steps(page) == ["!fsd setup train", "!fsd setup webui"]
    assert "trains in full: tiny, sd15, sd21-base, sd21, sdxl\n" in page and "no bf16" in page
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
    assert page.startswith("training    WOULD NOT WORK before steps 1, 2 and 3\n")
    assert first.startswith("delete what you do not need; this shows what is large: !du ")
    assert "run the cell 'Open session': it mounts Drive again" in second
    assert third == "!fsd setup train"
    assert "Google Colab as recorded 2026-08-19" in page  # told by its Python, where torch is missing
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
        ({"drive_free": 3_000_000_000}, "empty its bin"),
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
    assert steps(found["page"])[0] == "update the driver to 525 or newer, or install a torch for an older CUDA"
    assert found["exit_code"] == 1


def test_the_driver_that_a_torch_of_no_said_release_needs(tmp_path: Path) -> None:
    machine = Machine(tmp_path, UNRECORDED | {"torch": "2.11.0"}, gpu=T4)
    machine.need("torch", "nvidia-cudnn-cu13==9.19; platform_system == 'Linux'")
    assert "update the driver to 580 or newer" in machine.doctor()["page"]


@pytest.mark.parametrize(
    ("gpu", "limit"),
    [
        ("", "for the tiny base model alone: there is no GPU"),
        ("NVIDIA T1000, 4096 MiB, 550.54, 7.5", "sd15 takes 9.9 GB"),
    ],
)
def test_what_a_small_machine_is_good_for_is_said_at_once(tmp_path: Path, gpu: str, limit: str) -> None:
    newest = next(image for image in images() if image.name == NEWEST)
    found = Machine(tmp_path, UNRECORDED | newest.packages, gpu=gpu).doctor()
    assert found["exit_code"] == 0
    assert limit in flat(found["page"].partition("web UI")[0])
    assert limit in found["figures"]["training_limit"]


def test_little_memory_is_said(tmp_path: Path) -> None:
    machine = colab_image(tmp_path)
    machine.facts["memory"] = 2_000_000_000
    page = machine.doctor()["page"]
    assert page.startswith("training    would work, but for the tiny base model alone: there is little memory\n")
    assert "2.00 GB of memory is little" in page


def test_a_drive_that_cannot_be_written(tmp_path: Path) -> None:
    machine = colab_image(tmp_path)
    machine.mount_drive()
    machine.facts["read_only"] = True
    found = machine.doctor()
    assert found["exit_code"] == 1
    assert steps(found["page"])[0] == "run the cell 'Open session': it mounts Drive again"
    assert "nothing can be written to it" in found["page"]


@pytest.mark.parametrize("home", ["", "drive/MyDrive/models"])
def test_a_drive_that_never_answers_is_not_waited_for(tmp_path: Path, home: str) -> None:
    machine = colab_image(tmp_path)
    machine.mount_drive()
    machine.facts["silent"] = True
    found = machine.doctor(**({"FSD_HOME": str(tmp_path / home)} if home else {}))
    assert "Google Drive is dead: it does not answer" in found["page"]


def test_a_folder_of_colabs_own_disk_is_said_to_be_lost(tmp_path: Path) -> None:
    found = colab_image(tmp_path).doctor(FSD_HOME=str(tmp_path / "new"))
    assert "in FSD_HOME, not on Google Drive: LOST when Colab ends this runtime" in flat(found["page"])
    assert found["exit_code"] == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("home", "exit_code", "said", "step"),
    [
        ("there", 0, "", ""),
        ("new", 0, "a folder that is not there yet", 'mkdir -p "$FSD_HOME"'),
        ("new/folder", 1, "below one that is not there", 'mkdir -p "$FSD_HOME"'),
        ("file", 1, "FSD_HOME names a file", "name a folder of your own in FSD_HOME"),
        ("file/folder", 1, "above that of FSD_HOME is a file", "name a folder of your own in FSD_HOME"),
    ],
)
def test_the_folder_of_the_sessions(tmp_path: Path, home: str, exit_code: int, said: str, step: str) -> None:
    machine = colab_image(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    found = machine.doctor(FSD_HOME=str(tmp_path / home))
    assert (found["exit_code"], said in flat(found["page"])) == (exit_code, True)
    assert step in " ".join(steps(found["page"]))
    assert str(tmp_path / home) not in found["page"]


@pytest.mark.parametrize(("free", "exit_code", "said"), [(30e6, 1, "disk of FSD_HOME is full"), (9e9, 0, "is little")])
def test_little_room_where_the_sessions_are(tmp_path: Path, free: float, exit_code: int, said: str) -> None:
    machine = colab_image(tmp_path)
    (tmp_path / "there").mkdir()
    machine.facts |= {"home_disk": str(tmp_path / "there"), "home_free": free}
    found = machine.doctor(FSD_HOME=str(tmp_path / "there"))
    assert (found["exit_code"], said in flat(found["page"])) == (exit_code, True)
    assert any("$FSD_HOME" in step for step in steps(found["page"]))


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    machine = colab_image(tmp_path)
    machine.facts["gone"] = True
    assert "change to another folder" in steps(machine.doctor()["page"])[0]


def test_an_overlay_on_drive_is_a_problem_like_any_other(tmp_path: Path) -> None:
    found = colab_image(tmp_path).doctor(FSD_OVERLAY=str(tmp_path / "drive" / "overlay"))
    assert found["exit_code"] == 1
    assert "set FSD_OVERLAY to a folder on this machine's own disk" in steps(found["page"])[0]


def test_kaggle_is_not_colab(tmp_path: Path) -> None:
    """Its image is made from Colab's and holds google.colab, which cannot mount anything there."""
    found = colab_image(tmp_path).doctor(KAGGLE_KERNEL_RUN_TYPE="Interactive")
    assert "image     Kaggle\n" in found["page"]
    assert "in the current folder, not on Google Drive" in found["page"]
    assert "Colab forbids" not in found["page"]
    assert steps(found["page"])[0] == "!fsd setup train"


def test_a_command_on_colab_says_that_it_cannot_see_the_notebooks_secrets(tmp_path: Path) -> None:
    assert "a notebook's secrets are read in a cell" in flat(colab_image(tmp_path).doctor()["page"])


def test_every_line_fits_into_a_report(tmp_path: Path) -> None:
    page = Machine(tmp_path, {}).doctor()["page"]
    assert max(map(len, page.splitlines())) <= 110
    assert len(page.splitlines()) < 60


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
    (found,), _ = asking.check([Place("models", "one", (address(path),))], {})
    assert found.answers == ((address(path), state),)
    assert found.usable is (state == THERE)


def test_each_mirror_is_asked_once_by_head(server: Any, address: Callable[[str], str]) -> None:
    places = [Place("a", str(number), (address("404/x"), address("200/y"))) for number in range(3)]
    assert all(one.usable for one in asking.check(places, {})[0])
    assert sorted(server.asked) == [("HEAD", "/200/y", ""), ("HEAD", "/404/x", "")]


def test_a_dead_host_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def head(url: str, token: str) -> Any:
        tried.append(url)
        raise TimeoutError

    monkeypatch.setattr(asking, "_head", head)
    monkeypatch.setattr(asking, "_AT_ONCE", 1)
    places = [Place("a", str(number), (f"https://dead.invalid/{number}",)) for number in range(50)]
    checked, dead = asking.check(places, {})
    assert {state for one in checked for _, state in one.answers} == {UNREACHABLE}
    assert dead == {"dead.invalid": "no answer in time"}
    assert len(tried) == 1


def test_a_network_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a name server never answers: no timeout of a connection ends that."""
    over = Event()

    def head(url: str, token: str) -> Any:
        if "hangs" in url:
            over.wait()
        return 200, {}

    monkeypatch.setattr(asking, "_head", head)
    monkeypatch.setattr(asking, "_FIRST_S", 1.0)
    places = [Place("a", f"{host}{number}", (f"https://{host}.invalid/{number}",))
              for host in ("hangs", "works") for number in range(40)]  # fmt: skip
    checked, _ = asking.check(places, {})
    over.set()
    assert [one.usable for one in checked] == [False] * 40 + [True] * 40


def test_a_token_goes_to_its_own_site_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, str] = {}

    def head(url: str, token: str) -> Any:
        sent[url] = token
        return 200, {}

    monkeypatch.setattr(asking, "_head", head)
    urls = ("https://huggingface.co/a", "http://huggingface.co/a", "https://civitai.com/b", "https://example.org/c")
    asking.check([Place("a", "one", urls)], {"HF_TOKEN": "hf", "CIVITAI_TOKEN": "ci"})
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
    assert "none can be downloaded" in found["training_limit"]  # no base model was among them
    assert found.exit_code == 0  # none of them is needed to train another
    assert [row["usable"] for row in found["download_sources"]["places"]] == [True, False, False, False]


HUB = "https://huggingface.co"


def doctor_with(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str, str], Any]) -> Any:
    """The page where the web answers (address, token) so."""
    monkeypatch.setattr(asking, "_head", answer)
    monkeypatch.setenv("HF_TOKEN", "hf_Planted")
    found = examine.examine([Place("web UIs", "one", ("https://example.org/one",))])
    assert "Planted" not in found.text + json.dumps(found)
    return found


def test_a_token_that_the_hub_refuses_is_one_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub then refuses what is public, too."""
    monkeypatch.chdir(tmp_path)
    found = doctor_with(monkeypatch, lambda url, token: (401 if token else 200, {}))
    assert "make a token at https://huggingface.co/settings/tokens" in steps(found.text)[-1]
    assert "huggingface.co does not accept HF_TOKEN" in flat(found.text)
    assert found.text.count("does not accept the token (401)") == 1
    assert "accept the licence" not in found.text
    assert {state for place in found["download_sources"]["places"] if place["kind"] == "base models"
            for state in place["mirrors"].values()} == {REFUSED}  # fmt: skip
    assert "none can be downloaded" in flat(found.text.partition("web UI")[0])


def test_a_host_that_is_cut_off_is_one_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(url: str, token: str) -> Any:
        if url.startswith(HUB):
            raise OSError("Tunnel connection failed: 407 Proxy Authentication Required")
        return 200, {}

    monkeypatch.chdir(tmp_path)
    found = doctor_with(monkeypatch, answer)
    assert "see that this network lets you reach huggingface.co" in steps(found.text)[-1]
    assert "cannot be reached (the proxy wants a login (407))" in flat(found.text)
    assert len(found.text.splitlines()) < 70


def test_without_a_network_that_comes_before_what_needs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = Machine(tmp_path, {})
    page.facts["ask"] = True
    first, second, *_ = steps(page.doctor(HTTPS_PROXY="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1")["page"])
    assert first.startswith("see that HTTPS_PROXY is right")
    assert second == "fsd setup train"


def test_a_login_in_a_mirrors_address_is_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "https://me:hf_Planted@mirror.invalid")
    found = doctor_with(monkeypatch, lambda url, token: (200, {}))
    assert "holds a user name or a password" in flat(found.text)


def test_every_place_that_fsd_downloads_from_is_known() -> None:
    from fsd.families import FAMILIES
    from fsd.webui.flavors import FLAVORS
    from fsd.webui.places import places

    known = {one.name for one in sources.known_places()}
    assert known >= FAMILIES.keys() - {"tiny"}
    mirrors = {f"{url}.git" for place in places() for url in place.urls}
    assert mirrors >= {url for flavor in FLAVORS.values() for one in flavor.repositories for url in one.mirrors}
    assert {place.name for place in places()} >= {"cloudflared", "frpc", "ngrok"}
