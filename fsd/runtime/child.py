"""A stage's process from inside: it begins here, stops quietly at any moment, and leaves its result for `run_stage`.

`python -m fsd.runtime.child MODULE ARGUMENTS` is `python -m MODULE ARGUMENTS`, but it heeds signals while it loads torch:
until then they wait, as `run_stage` started it so. `lean` says how it loads faster.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from fsd.errors import FsdError, Interrupted, MachineError, foreseen
from fsd.runtime import lean, stopping
from fsd.runtime.handover import take

REPLY_PATH = "FSD_REPLY_PATH"
"""Names the file in which a child leaves its result or its error for `run_stage`."""


def stage_main(work: Callable[[list[str]], dict[str, Any]]) -> None:
    """Run `work(argv)` as a child's main function: its result or its FsdError goes to `run_stage`, or is printed."""
    lean.loaded()
    try:
        stopping.raising()
        take()
        sys.stdout, sys.stderr = _Forgiving(sys.stdout), _Forgiving(sys.stderr)
        kind, value = _outcome(work)
        stopping.ignoring()
    except stopping.Stopped:
        sys.exit(stopping.exit_code())
    _reply(kind, value)
    stopping.leaving()
    if kind == "error":
        sys.exit(stopping.exit_code() if value["code"] == Interrupted.code else 1)


def _outcome(work: Callable[[list[str]], dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """("result", what the work gave) or ("error", what it raised, in our words); what is not foreseen is raised."""
    try:
        return "result", work(sys.argv[1:])
    except Exception as error:
        fault = _known(error) or foreseen(error)
        if not fault:
            raise
        return "error", fault.to_json()


def _reply(kind: str, value: dict[str, Any]) -> None:
    text = json.dumps({kind: value})
    if int(
        os.environ.get("RANK", "0")
    ):  # of several processes on one stage the first speaks, the others of errors alone
        print(text if kind == "error" else "", end="", file=sys.stderr, flush=True)
    elif path := os.environ.get(REPLY_PATH):
        Path(path).write_text(text, encoding="utf-8")
    else:
        print(text, flush=True)


class _Forgiving:
    """A text stream that is silent once nobody reads it: when the parent has died there is still work to save."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(BrokenPipeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(BrokenPipeError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _known(error: Exception) -> FsdError | None:
    """What torch says of a GPU, in our words."""
    first_line = str(error).partition("\n")[0]
    if type(error).__name__ == "OutOfMemoryError":
        settings = (
            "gradient_checkpointing=true, optimizer=adamw8bit, a smaller batch_size or resolution_px, quantize=nf4"
        )
        return MachineError(f"the GPU's memory is full: {first_line}", f"change a setting and run again: {settings}")
    if "deterministic implementation" in first_line:
        hint = "set repeatable=false: the run may then differ in its last bits when it is done again"
        return MachineError(f"this GPU cannot repeat a run exactly: {first_line}", hint)
    return None


if __name__ == "__main__":
    stopping.leaving()
    del sys.argv[0]
    lean.begin(sys.argv[0])
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
