"""The stand-in for AUTOMATIC1111 as a `Server`, with a few phases and faults of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fsd.webui.flavors import A1111
from fsd.webui.install import Installed
from fsd.webui.logs import Fatal, Phase
from fsd.webui.server import Server

STAND_IN = Path(__file__).with_name("webui_stand_in.py")
PHASES = (
    Phase(r"^Launching Web UI", "starting"),
    Phase(r"^Loading weights \[\w+\] from .*/(?P<name>[^/]+)$", "loading {name}"),
)
FATAL = (
    Fatal(r"numpy\.dtype size changed", "its packages do not fit", "install again"),
    Fatal(r"Couldn't clone (?P<what>.+)\.", "{what} could not be fetched", "check the network"),
    Fatal(r"CUDA out of memory", "the GPU's memory is full", "medvram"),
    Fatal(r"Stable diffusion model failed to load", "the model is broken", "another model"),
    Fatal(r"Cannot add middleware", "asked too early", "again"),
)


def install_stand_in(scenario: str, app: Path, patch: pytest.MonkeyPatch) -> None:
    """Have the launcher find the stand-in, playing a scenario, installed as AUTOMATIC1111 in the folder `app`."""
    path = f"sys.argv[1:1], sys.path[:0] = [{scenario!r}], [{str(STAND_IN.parent)!r}]"
    code = f"import runpy, sys\n{path}\nrunpy.run_path({str(STAND_IN)!r}, run_name='__main__')\n"
    app.mkdir(exist_ok=True)
    (app / "launch.py").write_text(code)
    installed = Installed(A1111, app, Path(sys.executable), {})
    patch.setattr("fsd.webui.install.find_installed", lambda flavor: installed if flavor is A1111 else None)


def server(scenario: str, port: int, folder: Path, *arguments: str) -> Server:
    """The stand-in playing a scenario at a port."""
    command = (sys.executable, str(STAND_IN), scenario, "--port", str(port), *arguments)
    environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    return Server("Stand-in", command, environment, port, PHASES, r"^Startup time:", FATAL, "/internal/ping", folder)
