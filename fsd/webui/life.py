"""One run of a web UI, from its start to its end: followed until it is ready, explained when it dies."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from fsd.errors import MachineError
from fsd.runtime import report
from fsd.runtime.handover import handed_over
from fsd.webui import keeper
from fsd.webui.logs import Log, fatal_of, phase_of
from fsd.webui.server import Server, status_of

_SILENCE_S = 900.0
"""Longer than any model takes to come from Drive without a word."""
_ANSWER_S = 60.0
_JOIN_S = 10.0
_SHOWN_LINES = 15
_SEARCHED_LINES = 200


class Life:
    """One run of a server. ended: called in a thread of its own when it was ready and ends without being asked to."""

    def __init__(self, server: Server, log: Log, ended: Callable[[Life], None]) -> None:
        self.server = server
        self.log = log
        self.ready = self.stopping = False
        self.status: int | None = None
        self._ended = ended
        self._changed = threading.Condition()
        self._heard = time.monotonic()
        self._told: set[str] = set()
        self._faults: list[str] = []
        with handed_over(server.environment, server.handed) as given:
            self._child = subprocess.Popen(
                [sys.executable, "-I", str(keeper.__file__), *server.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=server.folder,
                start_new_session=True,
                **given,
            )
        self._follower = threading.Thread(target=self._follow, daemon=True, name=f"log of {server.title}")
        self._follower.start()

    @property
    def running(self) -> bool:
        return self.status is None

    def wait_ready(self, silence_s: float = _SILENCE_S) -> None:
        """Return once the server is ready and answers; MachineError that says why it never will."""
        with self._changed:
            while not self.ready and self.status is None:
                left = self._heard + silence_s - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        if not self.ready or not self._answers():
            raise self.death()
        for text in self._faults:  # it lives with them
            self._tell(text)

    def death(self) -> MachineError:
        """Why it ended, or does not get ready: what, its last lines, what to do."""
        tail = self.log.tail(_SEARCHED_LINES)
        last = "\n".join(f"    {line}" for line in tail[-_SHOWN_LINES:])
        what, hint = self._cause(tail)
        return MachineError(f"{self.server.title}: {what}" + (f"; its last lines:\n{last}" if last else ""), hint)

    def stop(self) -> None:
        """End it and everything that it started."""
        self.stopping = True
        keeper.end(self._child)
        self._follower.join(_JOIN_S)

    def _follow(self) -> None:
        assert self._child.stdout is not None
        try:
            with self._child.stdout as pipe:
                for line in self.log.follow(pipe.fileno()):
                    self._take(line)
        finally:
            status = self._child.wait()
            with self._changed:
                self.status = 128 - status if status > 128 else status  # as Popen says it: -N for the signal N
                self._changed.notify_all()
            if self.ready and not self.stopping:
                threading.Thread(target=self._ended, args=(self,), daemon=True).start()

    def _take(self, line: str) -> None:
        if known := fatal_of([line], self.server.fatal):
            text = f"note: {known.message}; what to do: {known.hint}"
            self._tell(text) if self.ready else self._faults.append(text)
        elif text := phase_of(line, self.server.phases):
            self._tell(text)
        with self._changed:
            self._heard = time.monotonic()
            if re.search(self.server.ready, line):
                self.ready = True
                self._changed.notify_all()

    def _tell(self, text: str) -> None:
        """Say it to people, once in this life."""
        if text not in self._told and not self.stopping:
            self._told.add(text)
            report.say(f"  {text}")

    def _answers(self) -> bool:
        """Whether the server answers in time; asked only now, as a request in the midst of starting can kill it."""
        deadline = time.monotonic() + _ANSWER_S
        while self.running and time.monotonic() < deadline:
            if status_of(f"http://127.0.0.1:{self.server.port}{self.server.ping}") == 200:
                return True
            with self._changed:
                self._changed.wait(0.2)
        return False

    def _cause(self, tail: list[str]) -> tuple[str, str]:
        killed = self.status == -signal.SIGKILL or (self.status is not None and tail[-1:] == ["^C"])
        known = fatal_of(tail, self.server.fatal)
        if known and not killed:
            return known.message, known.hint
        if killed:
            hint = "start it with a smaller model or with other programs closed, or on a machine with more memory"
            return "the system killed it, most often for want of main memory", hint
        if self.status is None:
            return "it does not get ready", "read its lines; stop and start it again"
        how = f"was ended by {signal.Signals(-self.status).name}" if self.status < 0 else f"exit code {self.status}"
        return f"it ended ({how})", "read its last lines; start it again, or install it again if packages are missing"
