"""What the tests stand on: a micro model of the SD 1.x layout, photos, a session, no network."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from micro import draw_photos, make_folder, make_micro_session

from fsd import __main__
from fsd.data.session import Session
from fsd.runtime import colab, report

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", DIFFUSERS_VERBOSITY="error")

# What a shell starts in the background ignores Ctrl-C, and so would every child that a test sends it to.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
