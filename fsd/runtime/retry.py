"""Trying again: what may pass, how long to wait, and when to give up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from fsd.errors import DownloadError
from fsd.runtime import report

_IDLE_TRIES = 6
_DEAD_TRIES = 3
_DEAD_S = 120.0
_WEAK_TRIES = 100
_WEAK_BYTES = 1 << 20
_LONGEST_PAUSE_S = 60.0
_LONGEST_WAIT_S = 600.0


class Clock(Protocol):
    """Time, for whoever waits; the module `time` is one."""

    def time(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


REAL_CLOCK: Clock = time


class Again(Exception):
    """A failure that may pass. wait_s: how long the server asks to wait. hint: what to do when it does not pass."""

    def __init__(self, reason: str, wait_s: float = 0.0, hint: str = "") -> None:
        super().__init__(reason)
        self.wait_s, self.hint = wait_s, hint


def persist(once: Callable[[], bool], size: Callable[[], int], what: str, clock: Clock) -> None:
    """Call `once` until it is True, with longer and longer pauses (1, 2, 4 ... 60 s) while nothing comes.

    Each time it says why, how long it waits and which try comes next. size: the bytes that are there. DownloadError after
    6 tries on end without a byte more, or 3 that took more than two minutes, as where a host swallows all that is sent to
    it; after 100 that brought less than 1 MiB each; and when the server asks for more than ten minutes.
    """
    furthest, idle, weak, moved_s = size(), 0, 0, clock.time()
    while True:
        fault = Again("the connection was cut")
        try:
            if once():
                return
        except Again as caught:
            fault = caught
        gained = size() - furthest
        furthest += max(gained, 0)
        idle, weak = (0 if gained > 0 else idle + 1), weak + (gained < _WEAK_BYTES)
        moved_s = clock.time() if gained > 0 or fault.wait_s else moved_s
        dead = idle >= _DEAD_TRIES and clock.time() - moved_s > _DEAD_S
        pause_s = max(fault.wait_s, min(2.0 ** max(idle - 1, 0), _LONGEST_PAUSE_S))
        if idle >= _IDLE_TRIES or dead or weak >= _WEAK_TRIES or pause_s > _LONGEST_WAIT_S:
            asked = f", and asks for {fault.wait_s / 60:.0f} minutes' patience" if pause_s > _LONGEST_WAIT_S else ""
            goes_on = ": it goes on where it stopped" if size() else ""
            hint = fault.hint or f"run it again later{goes_on}"
            raise DownloadError(f"{what} could not be fetched: {fault}{asked}", hint)
        then = f"try {idle + 1} of {_IDLE_TRIES}" if idle else "going on"
        report.say(f"{what}: {fault}; {then} in {pause_s:.0f} s")
        clock.sleep(pause_s)
