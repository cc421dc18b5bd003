"""Keeps a web UI running: starts it at a free port, starts it again after it died, stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsd.errors import FsdError, MachineError
from fsd.runtime import report
from fsd.webui.life import Life
from fsd.webui.logs import Log
from fsd.webui.server import Server, free_port, is_free

_PORT_TRIES = 3
_CALM_S = 600.0
"""Who dies a second time within this time is not started again by itself."""


class Supervisor:
    """A web UI over its lives. make: the server at a port, asked anew for each start, since ports change.

    log: its file. at_port: told the port once it is ready and answers there, and None when it no longer does.
    ended: set once it was stopped or died for good, of `fault`.
    """

    def __init__(self, make: Callable[[int], Server], log: Path, at_port: Callable[[int | None], None]) -> None:
        self.ended = threading.Event()
        self.fault: FsdError | None = None
        self._make = make
        self._at_port = at_port
        self._log = Log(log)
        self._life: Life | None = None
        self._changing = threading.RLock()
        self._beginning = threading.Lock()
        self._stopping = False
        self._revived = float("-inf")

    def start(self) -> None:
        """Start it and return once it is ready and answers. MachineError says why it died; then nothing is left of it."""
        with self._changing:
            tries = 1
            while (port := self._live(last=tries == _PORT_TRIES)) is None:
                tries += 1
            self._at_port(port)

    def restart(self) -> None:
        """End it and start it again; MachineError if it does not come back: then it has died for good."""
        with self._changing:
            if self._stopping:
                raise MachineError("the web UI was stopped", "launch it anew")
            self.ended.clear()
            self.fault = None
            with self._or_its_end():
                self._at_port(None)
                if self._life:
                    self._life.stop()
                self.start()

    def stop(self, fault: FsdError | None = None) -> None:
        """End it for good, also in the midst of starting. fault: why, if nobody asked for it."""
        with self._beginning:
            self._stopping = True
            self.fault = fault or self.fault
            life = self._life
        if life:
            life.stop()
        self.ended.set()

    def tail(self, lines: int) -> list[str]:
        """The last lines of its log, oldest first."""
        return self._log.tail(lines)

    def _live(self, last: bool) -> int | None:
        """The port of a life that is ready; None if another program took its port meanwhile and it is not the last try."""
        life = self._begin(self._make(free_port()))
        try:
            life.wait_ready()
            return life.server.port
        except BaseException as fault:
            life.stop()
            if last or self._stopping or not isinstance(fault, MachineError) or is_free(life.server.port):
                raise
            report.say("  its port was taken meanwhile; trying another")
            return None

    def _begin(self, server: Server) -> Life:
        with self._beginning:
            if self._stopping:
                raise MachineError(f"{server.title} was stopped", "launch it anew")
            self._life = Life(server, self._log, self._gone)
            return self._life

    def _gone(self, life: Life) -> None:
        """A life that was ready has ended and nobody had asked for it: give it another, in a thread of its own."""
        with self._changing:
            if self._stopping or life.stopping or life is not self._life:
                return
            report.say(str(life.death()))
            again, self._revived = self._revived + _CALM_S < time.monotonic(), time.monotonic()
            with suppress(FsdError, OSError), self._or_its_end():
                self._at_port(None)
                if not again:
                    raise MachineError("it died twice in ten minutes", "change what led there, then call restart()")
                report.say("starting it again; the link stays")
                self.start()
            if self.fault:
                report.say(str(self.fault))

    @contextmanager
    def _or_its_end(self) -> Iterator[None]:
        """What fails inside is its end: nothing of it runs on, and who waits for it is told."""
        try:
            yield
        except BaseException as fault:
            if self._life:
                self._life.stop()
            if not self._stopping:
                self.fault = fault if isinstance(fault, FsdError) else MachineError(str(fault) or "it was interrupted")
            self.ended.set()
            raise
