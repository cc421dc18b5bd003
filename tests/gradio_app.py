"""A small Gradio app, as a child process: an upload, a stream of results, a file to download. Prints its port."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gradio

FOLDER = Path(tempfile.mkdtemp())


def count(text: str) -> Iterator[str]:
    for number in range(3):
        yield f"{text} {number}"
        time.sleep(0.2)


def twice(path: str) -> str:
    made = FOLDER / "twice.bin"
    made.write_bytes(Path(path).read_bytes() * 2)
    return str(made)


with gradio.Blocks() as app:
    text, counted = gradio.Textbox("a"), gradio.Textbox()
    gradio.Button("Count").click(count, text, counted, api_name="count")
    given, made = gradio.File(), gradio.File()
    gradio.Button("Twice").click(twice, given, made, api_name="twice")

if __name__ == "__main__":
    app.queue()
    app.launch(
        server_name="127.0.0.1", quiet=True, prevent_thread_lock=True, allowed_paths=[str(FOLDER)], ssr_mode=False
    )
    print(app.server_port, flush=True)
    sys.stdin.read()
