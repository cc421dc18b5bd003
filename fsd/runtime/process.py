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
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fsd.errors import Interrupted, MachineError, from_json
from fsd.runtime import report, secrets, stopping
from fsd.runtime.child import REPLY_PATH
from fsd.runtime.handover import handed_over
from fsd.runtime.packages import overlay

LOADING = "{}: loading PyTorch and the model"
"""What is said before `run_stage`, for until the child has loaded them nothing else is."""
_TAIL_LINES = 15
_LINE_ENDS = re.compile(rb"(\r\n|\n|\r(?!$))")
_CHILD_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "THP_MEM_ALLOC_ENABLE": "1",  # PyTorch takes large tensors in huge pages: a step on a CPU spends less on page faults
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
    Ctrl-C and SIGTERM are passed on, and the child is given the time to save; Interrupted then, also where it was done
    already. Raises the FsdError that the child raised, or MachineError with its last lines if it died of something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        reply_path = Path(folder) / "reply.json"
        with _PassingOn() as signals:
            with handed_over(child_environment() | {REPLY_PATH: str(reply_path)}, handed) as given:
                child = signals.start(python_module("fsd.runtime.child", module, *arguments), given)
            tail = _pass_on_output(child)
            status = child.wait()
        reply = json.loads(reply_path.read_text(encoding="utf-8")) if reply_path.exists() else {}
    if "error" in reply:
        raise from_json(reply["error"])
    if signals.passed_on:
        raise Interrupted("stopped", "run the same command to go on")
    if status != 0 or "result" not in reply:
        raise _death(module, status, tail)
    return reply["result"]


class _PassingOn:
    """While inside, Ctrl-C and SIGTERM go to the child instead of ending this process; a handler that notes them is told.

    They do from before the child is there: what comes earlier it gets when it begins. passed_on: the signals.
    """

    def __init__(self) -> None:
        self.passed_on: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _PassingOn:
        with stopping.held_back():
            for number in stopping.heeded():
                self._before[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        with stopping.held_back():
            for number, handler in self._before.items():
                signal.signal(number, handler)
            if self._child and self._child.poll() is None:
                self._child.kill()
                self._child.wait()

    def start(self, command: list[str], given: dict[str, Any]) -> subprocess.Popen[bytes]:
        """The child, started in a session of its own, with its output in one pipe. given: more for Popen."""
        with stopping.held_back():
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=STOP_WITH_PARENT,
                **given,
            )
        self._child = child
        for number in self.passed_on[:1]:
            os.killpg(child.pid, number)
        return child

    def _pass_on(self, number: int, frame: Any) -> None:
        self.passed_on.append(number)
        stopping.note(number)
        if self._child and self._child.poll() is None:
            os.killpg(self._child.pid, number)
        if stopping.passes_on(self._before[number]):
            self._before[number](number, frame)


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
