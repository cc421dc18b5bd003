"""The studio as a server to start: its command, and what its lines mean. Nothing here loads Gradio."""

from __future__ import annotations

import os
from pathlib import Path

from fsd.runtime.handover import held
from fsd.runtime.process import child_environment, python_module
from fsd.webui.logs import Fatal, Phase
from fsd.webui.server import Server

TITLE = "fsd studio"
READY = r"^Startup time:"
PHASES = (
    Phase(r"^Loading the studio", "loading the studio"),
    Phase(r"^Running on local URL", "the studio is up"),
)
FATAL = (
    Fatal(
        r"port (?P<port>\d+) cannot be used",
        "port {port} is taken by another program",
        "stop that program, or start again",
    ),
    Fatal(
        r"ModuleNotFoundError: No module named '(?P<name>[\w.]+)'",
        "the package {name} is not installed",
        "install what the studio needs: fsd setup webui",
    ),
    Fatal(r"No space left on device", "the disk is full", "free some space and start again"),
)
_OWN = {
    "MPLBACKEND": "Agg",  # a notebook's own is not installed for children
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def studio_server(root: Path, port: int, model: str = "") -> Server:
    """The studio on the sessions and models below `root`, to be started at a port. model: the one chosen at first."""
    command = python_module("fsd.webui.studio", "--port", str(port), "--root", str(root))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRADIO_")}
    return Server(
        TITLE,
        (*command, *(["--model", model] if model else [])),
        child_environment(kept) | _OWN,
        port,
        PHASES,
        READY,
        FATAL,
        "/internal/ping",
        root,
        held(),
    )
