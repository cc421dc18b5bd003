"""The drawing process as its parent sees it: started, written to, listened to, and explained when it dies."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsd.errors import MachineError
from fsd.runtime import report
from fsd.runtime.handover import handed_over, held
from fsd.runtime.process import STOP_WITH_PARENT, child_environment, python_module

_SHOWN_LINES = 15
_LINE_ENDS = re.compile(rb"(\r\n|\n|\r(?!$))")


class WorkerProcess:
    """One run of `python -m fsd.generate.worker ROOT`. events: what it says, ending with None when it has ended."""

    def __init__(self, root: Path, command: list[str] | None = None) -> None:
        self._command = command or python_module("fsd.generate.worker", str(root))
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.status: int | None = None
        self._tail: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._started = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._fault: OSError | None = None
        threading.Thread(target=self._live, daemon=True, name="drawing process").start()
        self._started.wait()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def send(self, order: dict[str, Any]) -> None:
        """Write it an order; one that has just died is found out by the None among its events."""
        if self._child is not None and self._child.stdin is not None:
            with suppress(BrokenPipeError, ValueError):
                self._child.stdin.write(json.dumps(order).encode() + b"\n")
                self._child.stdin.flush()

    def stop(self) -> None:
        """End it at once."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.kill()
            self._child.wait()

    def death(self) -> MachineError:
        """Why it ended: how, its last lines, what to do."""
        if self._fault:
            return MachineError(f"the drawing process cannot be started: {self._fault}", "check the installation")
        last = "\n".join(f"    {line}" for line in self._tail)
        said = f"; its last lines:\n{last}" if last else ""
        if self.status == -signal.SIGKILL:
            what = "the system killed the drawing process, most often for want of main memory"
            return MachineError(f"{what}{said}", "choose a smaller model or size, or close other programs")
        status = self.status or 0
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
        return MachineError(f"the drawing process {how}{said}", "try again: it starts anew with the next picture")

    def _live(self) -> None:
        """Start the child and listen until it ends, all in one thread: the kernel takes its end for the parent's."""
        try:
            with handed_over(child_environment(), held()) as given:
                self._child = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    preexec_fn=STOP_WITH_PARENT,
                    **given,
                )
        except OSError as fault:
            self._fault = fault
            self.events.put(None)
            return
        finally:
            self._started.set()
        notes = threading.Thread(target=self._pass_on, daemon=True)
        notes.start()
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with suppress(ValueError):  # it was killed in the middle of a line
                self.events.put(json.loads(line))
        self.status = self._child.wait()
        notes.join(timeout=5)  # a grandchild may still hold the pipe
        self.events.put(None)

    def _pass_on(self) -> None:
        """Its lines for people, as they come; progress bars redraw theirs with a carriage return."""
        assert self._child is not None and self._child.stderr is not None
        pending, out = b"", report.stream()
        while chunk := os.read(self._child.stderr.fileno(), 65536):
            *lines, pending = _LINE_ENDS.split(pending + chunk)
            for line, end in zip(lines[::2], lines[1::2], strict=True):
                out.write((line + end).decode(errors="replace"))
                self._tail.extend([line.decode(errors="replace")] if line.strip() and end != b"\r" else [])
            out.flush()
