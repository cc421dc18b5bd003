"""Child processes: a stage runs in its own, its output is passed on, its error comes back as ours."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from fsd.errors import FsdError, Interrupted, MachineError, from_json, missing_package
from fsd.runtime import report, secrets
from fsd.runtime.handover import handed_over, take
from fsd.runtime.packages import overlay

_REPLY_PATH = "FSD_REPLY_PATH"
"""Names the file in which a child leaves its result or its error for `run_stage`."""
_TAIL_LINES = 15
_LINE_ENDS = re.compile(rb"(\r\n|\n|\r(?!$))")
_CHILD_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}
_PACKAGE_PARENT = str(Path(__file__).parents[2])


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module by this Python, and never a file of the current folder called as one of its own."""
    return [sys.executable, "-P", "-m", name, *arguments]


def _stop_with_parent() -> None:
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


STOP_WITH_PARENT = _stop_with_parent if sys.platform == "linux" else None
"""A child's `preexec_fn`: the kernel sends it SIGTERM when the thread that started it ends, however it ends."""


def child_environment(kept: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a child of ours sees: what it may keep of our environment, this package, and libraries that say little.

    No secret is in it: a process's environment can be listed. What it needs of them goes by `handover`.
    """
    path = os.pathsep.join(filter(None, [_PACKAGE_PARENT, *overlay.child_paths(), os.environ.get("PYTHONPATH")]))
    return {**secrets.without(kept), **_CHILD_ENVIRONMENT, "PYTHONPATH": path}


def run_stage(module: str, *arguments: str, handed: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Run `python -m MODULE ARGUMENTS` to its end, passing its output on; return what it gave to `stage_main`.

    handed: the secrets that it needs, as `handover.held` gives them.
    Ctrl-C and SIGTERM are passed on, and the child is given the time to save. Raises the FsdError that the child
    raised, or MachineError with its last lines if it died of something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        reply_path = Path(folder) / "reply.json"
        with handed_over(child_environment() | {_REPLY_PATH: str(reply_path)}, handed) as given:
            child = subprocess.Popen(
                python_module(module, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=STOP_WITH_PARENT,
                **given,
            )
        with _passing_on_signals(child) as passed_on:
            tail = _pass_on_output(child)
            status = child.wait()
        reply = json.loads(reply_path.read_text(encoding="utf-8")) if reply_path.exists() else {}
    if "error" in reply:
        raise from_json(reply["error"])
    if passed_on and "result" not in reply:
        raise Interrupted("stopped", "run the same command to go on")
    if status != 0 or "result" not in reply:
        raise _death(module, status, tail)
    return reply["result"]


def stage_main(work: Callable[[list[str]], dict[str, Any]]) -> None:
    """Run `work(argv)` as a child's main function: its result or its FsdError goes to `run_stage`, or is printed."""
    take()
    sys.stdout, sys.stderr = _Forgiving(sys.stdout), _Forgiving(sys.stderr)
    try:
        result = work(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(75)
    except Exception as error:
        fault = _known(error)
        if not isinstance(fault, FsdError):
            raise
        _reply("error", fault.to_json())
        sys.exit(75 if isinstance(fault, Interrupted) else 1)
    _reply("result", result)


def _reply(kind: str, value: dict[str, Any]) -> None:
    text = json.dumps({kind: value})
    if int(
        os.environ.get("RANK", "0")
    ):  # of several processes on one stage the first speaks, the others of their errors
        print(text if kind == "error" else "", end="", file=sys.stderr, flush=True)
        return
    if path := os.environ.get(_REPLY_PATH):
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


def _known(error: Exception) -> Exception:
    """The error in our words where it is one that users can act on."""
    first_line = str(error).partition("\n")[0]
    if type(error).__name__ == "OutOfMemoryError":
        settings = "gradient_checkpointing=true, optimizer=adamw8bit, a smaller batch_size or resolution_px"
        return MachineError(f"the GPU's memory is full: {first_line}", f"change a setting and run again: {settings}")
    if "deterministic implementation" in first_line:
        hint = "set repeatable=false: the run may then differ in its last bits when it is done again"
        return MachineError(f"this GPU cannot repeat a run exactly: {first_line}", hint)
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    return error


@contextmanager
def _passing_on_signals(child: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """While inside, Ctrl-C and SIGTERM go to the child instead of ending this process; a handler of ours is told too.

    Yields the signals that were passed on.
    """
    passed_on: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # only there are signals ours to handle
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def pass_on(number: int, frame: Any) -> None:
        if child.poll() is None:
            passed_on.append(number)
            os.killpg(child.pid, number)
        if callable(before[number]) and before[number] is not signal.default_int_handler:
            before[number](number, frame)

    try:
        for number in before:
            signal.signal(number, pass_on)
        yield passed_on
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if child.poll() is None:
            child.kill()
            child.wait()


def _pass_on_output(child: subprocess.Popen[bytes]) -> list[str]:
    """Copy the child's output as it comes (progress bars redraw with a carriage return); return its last lines."""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    pending = b""
    assert child.stdout is not None
    while chunk := os.read(child.stdout.fileno(), 65536):
        *lines, pending = _LINE_ENDS.split(pending + chunk)
        for line, end in zip(lines[::2], lines[1::2], strict=True):
            _take((line + end).decode(errors="replace"), tail)
    _take(pending.decode(errors="replace"), tail)
    return list(tail)


def _take(line: str, tail: deque[str]) -> None:
    out = report.stream()
    out.write(line)
    out.flush()
    if line.strip():
        tail.append(line.rstrip())


def _death(module: str, status: int, tail: list[str]) -> MachineError:
    last = "\n".join(f"    {line}" for line in tail)
    if status == -signal.SIGKILL:
        hint = "the system killed it, most often for want of memory: close other programs or choose smaller settings"
    else:
        hint = "read its last lines above; training goes on from the last checkpoint when run again"
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
    return MachineError(f"the process {module} {how}; its last lines:\n{last}", hint)
