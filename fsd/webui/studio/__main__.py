"""The studio in a process of its own: `python -m fsd.webui.studio --port PORT --root ROOT [--model SPEC]`.

It listens on this machine alone and has no lock of its own: fsd's proxy stands before it. Its lines are what
`fsd.webui.studio.server` follows; the last of them, `Startup time:`, says that it answers.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fsd.errors import FsdError, MachineError
from fsd.runtime import report
from fsd.runtime.files import make_folder
from fsd.runtime.handover import take
from fsd.webui.engine import Engine

_UPLOAD_MB = 64
_GOODBYE_S = 2


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit status."""
    started = time.monotonic()
    take()
    parser = argparse.ArgumentParser(prog="fsd.webui.studio")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", default="")
    asked = parser.parse_args(arguments)
    try:
        listening = _listen(asked.port)
        with tempfile.TemporaryDirectory(prefix="fsd-studio-") as scratch:
            _settle(Path(scratch))
            root = Path(os.path.expanduser(asked.root)).resolve()
            serve(Engine(root), listening, Path(scratch), asked.model, started)
    except FsdError as fault:
        report.say(f"fsd: {fault}")
        return 1
    return 0


def serve(engine: Engine, listening: socket.socket, scratch: Path, model: str, started: float) -> None:
    """Answer at a socket until told to stop, then end the engine. scratch: a folder for uploads and thumbnails."""
    import uvicorn

    report.say("Loading the studio")
    app = build_app(engine, scratch, model)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            report.say(f"Running on local URL:  http://127.0.0.1:{listening.getsockname()[1]}")
            report.say(f"Startup time: {time.monotonic() - started:.1f}s")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            engine.stop()  # whoever waits for a picture is told at once, and not cut off
            await super().shutdown(sockets)

    settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_GOODBYE_S, server_header=False)
    try:
        Server(settings).run(sockets=[listening])
    finally:
        engine.stop()


def build_app(engine: Engine, scratch: Path, model: str = "") -> Any:
    """The FastAPI app: /internal/ping, AUTOMATIC1111's API and the page."""
    import gradio as gr
    from fastapi import FastAPI

    from fsd.webui.api.router import api_router
    from fsd.webui.captions.script import SCRIPT
    from fsd.webui.studio.look import CAPTIONS_STYLE, FAVICON, HEAD, STYLE, theme
    from fsd.webui.studio.page import build_page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.get("/internal/ping")(_pong)
    app.include_router(api_router(engine, model))
    _make_folder(engine.outputs)
    gr.set_static_paths([engine.outputs])  # served where they lie, never copied
    favicon = scratch / "favicon.svg"
    favicon.write_text(FAVICON, encoding="utf-8")
    gr.mount_gradio_app(
        app, build_page(engine, scratch / "thumbnails", model), path="/", theme=theme(), css=STYLE + CAPTIONS_STYLE,
        head=f"{HEAD}<script>{SCRIPT}</script>", footer_links=[],
        favicon_path=str(favicon), allowed_paths=[str(engine.outputs), str(scratch)], max_file_size=f"{_UPLOAD_MB}mb",
        show_error=True, ssr_mode=False, run_history=False, mcp_server=False, pwa=False, enable_monitoring=False,
    )  # fmt: skip
    return _with_policy(app)


def _with_policy(app: Any) -> Any:
    """The app, its answers telling the browser to ask nothing of anybody else."""
    from fsd.webui.studio.look import POLICY

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await app(scope, receive, answer)

    return asked


async def _pong() -> dict[str, Any]:
    """Alive: said without a thread, of which there may be none free."""
    return {}


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as fault:
        what = f"the folder {folder} cannot be made: {fault.strerror}"
        raise MachineError(what, "give a folder that can be written to as --root") from None


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as fault:
        raise MachineError(f"port {port} cannot be used: {fault.strerror}", "choose another port") from None
    return listening


def _settle(scratch: Path) -> None:
    """Set what Gradio reads from the environment, before it is loaded: no statistics, a folder of our own."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(scratch / "uploads"))
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", GRADIO_NUM_PORTS="1")


if __name__ == "__main__":
    for told in (signal.SIGTERM, signal.SIGINT):  # so that folders of uploads and previews are removed
        signal.signal(told, lambda *_: sys.exit(0))
    sys.exit(main())
