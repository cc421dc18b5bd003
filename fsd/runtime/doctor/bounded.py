"""An answer in time or none: a dead Drive may never answer whoever asks it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

ANSWERS_S = 10.0
T = TypeVar("T")


def in_time(ask: Callable[[], T]) -> T | None:
    """What `ask` gives back; None if it does not within ANSWERS_S, or raises OSError."""
    answer: list[T] = []

    def run() -> None:
        try:
            answer.append(ask())
        except OSError:
            return

    thread = Thread(target=run, daemon=True)  # which ends with the process, whatever it waits for
    thread.start()
    thread.join(ANSWERS_S)
    return answer[0] if answer else None
