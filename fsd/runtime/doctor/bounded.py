"""An answer in time or none: a dead Drive may never answer whoever asks it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from fsd.runtime.patience import Patience

ANSWERS_S = 10.0
T = TypeVar("T")


def in_time(ask: Callable[[], T]) -> T | None:
    """What `ask` gives back; None if it does not within ANSWERS_S, or raises OSError."""
    with suppress(OSError):
        return Patience(ANSWERS_S).run(ask)
    return None
