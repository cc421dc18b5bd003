"""What the tests stand on: a micro model of the SD 1.x layout, photos, a session, no network."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from micro import draw_photos, make_folder, make_micro_session

from fsd import __main__
from fsd.data.session import Session, open_session
from fsd.runtime import colab, lean, report

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", DIFFUSERS_VERBOSITY="error")

gc.disable()  # until all tests are imported: see fsd.runtime.lean

# What a shell starts in the background ignores Ctrl-C, and so would every child that a test sends it to.
signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = [
    *("notebooks", "faulty_drive", "kills", "resume", "together", "methods", "secrets_nowhere"),
    *("pipeline", "webui_notebook", "wheels", "walk", "bad_settings"),
]
"""The files that take most time, by CPU seconds: begun first, so that no worker is left alone with one at the end."""


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # xdist's own order is by the number of tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    lean.loaded()


@pytest.fixture(scope="session")
def micro_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Diffusers folder of the SD 1.x layout with random weights."""
    return make_folder(tmp_path_factory.mktemp("micro") / "model")


@pytest.fixture
def make_photos(tmp_path: Path) -> Callable[[int], Path]:
    """A function that draws so many different photos into a folder and returns it."""
    return lambda count: draw_photos(tmp_path / "photos", count)


@pytest.fixture
def micro_session(tmp_path: Path, micro_model: Path) -> Session:
    """A session with four photos on the micro model: 6 text-encoder and 8 UNet steps, saved every 2."""
    return make_micro_session(tmp_path, micro_model, {"text_encoder": 6, "unet": 8})


@pytest.fixture(scope="session")
def trained_root(micro_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the session "cup", trained without interruption, and "fresh", a copy of how it began."""
    from runs import FULL, copy_of, train

    root = tmp_path_factory.mktemp("trained")
    session = make_micro_session(root, micro_model, {"text_encoder": 6, "unet": 8})
    copy_of(session, "fresh")
    for stage in FULL:
        train(session, stage)
    return root


@pytest.fixture
def trained(trained_root: Path, tmp_path: Path) -> tuple[Session, Session]:
    """Both, for one test alone."""
    root = Path(shutil.copytree(trained_root, tmp_path / "root"))
    return open_session(root, "cup"), open_session(root, "fresh")


@pytest.fixture
def fsd(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """A function that runs `fsd WORDS` in a folder of its own; gives the exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FSD_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(report, "_stream", None)
        capsys.readouterr()
        try:
            code = __main__.main(list(words))
        except SystemExit as left:
            code = int(left.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A Chromium that runs, for the tests that walk through a page."""
    import browser

    with browser.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: FSD_SCREENSHOTS if set."""
    folder = Path(os.environ.get("FSD_SCREENSHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_overlay_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Packages that `fsd setup` once put beside this machine's own are no business of the tests."""
    os.environ["FSD_OVERLAY"] = str(tmp_path_factory.mktemp("overlay") / "none")


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The stand-in, importable as `google.colab`; Drive would be mounted in a folder of the test."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "google"}
    for name in before:
        del sys.modules[name]
    monkeypatch.syspath_prepend(Path(__file__).parent / "colab")
    monkeypatch.delenv("FSD_HOME", raising=False)
    monkeypatch.setattr(colab, "MOUNT_POINT", tmp_path / "drive")
    monkeypatch.setattr(colab, "_silent_until_s", 0.0)
    yield importlib.import_module("google.colab")
    for name in [name for name in sys.modules if name.partition(".")[0] == "google"]:
        del sys.modules[name]
    sys.modules.update(before)
