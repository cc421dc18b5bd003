"""Waiting for what may never answer, as a dead Drive may not: in a thread of its own, for as long as it gets on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

Answer = TypeVar("Answer")


class Patience:
    """Does one thing at a time in a thread, and gives up waiting for it once it has not moved for `limit_s`.

    What was given up on goes on if it can; until it ends nothing else is begun. The thread does not keep a process alive.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._moved = 0.0
        self._thread: Thread | None = None

    def moved(self) -> None:
        """Say that what is being done gets on."""
        self._moved = time.monotonic()

    def run(self, work: Callable[[], Answer]) -> Answer:
        """What `work` returns or raises; TimeoutError, an OSError, when it has not moved for too long."""
        self.moved()
        self._wait()
        answers: list[Answer] = []
        faults: list[BaseException] = []

        def body() -> None:
            try:
                answers.append(work())
            except BaseException as fault:
                faults.append(fault)

        self._thread = Thread(target=body, daemon=True)
        self.moved()
        self._thread.start()
        self._wait()
        if faults:
            raise faults[0]
        return answers[0]

    def _wait(self) -> None:
        while self._thread and self._thread.is_alive():
            left_s = self._moved + self.limit_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"it has not answered for {self.limit_s:.0f} s")
            self._thread.join(left_s)


def within(limit_s: float, work: Callable[[], object]) -> None:
    """Do what may fail and may never end: it is waited for so long, and an OSError is no matter."""
    with suppress(OSError):
        Patience(limit_s).run(work)
