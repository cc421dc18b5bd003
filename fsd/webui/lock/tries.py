"""Wrong passwords: who has to wait, and how long."""

from __future__ import annotations

from collections.abc import Callable

FREE_TRIES = 5
"""Wrong tries of one client before it has to wait: 1 s, then twice as long each time, 60 s at most."""
LONGEST_WAIT_S = 60.0
FORGET_S = 600.0
"""A client that has been quiet for so long starts anew."""
ALL_TRIES, ALL_TRIES_A_SECOND = 60.0, 1.0
"""What all clients together may try wrongly: so many at once, then so many a second."""
MOST_CLIENTS = 4096


class Tries:
    """Counts wrong tries for each client and for all together.

    Who is right never comes here, so no stranger's tries can lock the owner out. A client's name is only a drawer: one
    that changes its name at each try meets the count of all. Nobody waits for longer than LONGEST_WAIT_S.
    clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: dict[str, tuple[int, float]] = {}
        self._left, self._counted_at = ALL_TRIES, clock()

    def wait_s(self, client: str) -> float:
        """How long this client has to wait until its next wrong try is answered, in seconds; 0 for not at all."""
        count, last = self._wrong.get(client, (0, 0.0))
        own = last + _penalty_s(count) - self._clock()
        if own > 0:
            return own
        return 0.0 if self._left_now() >= 1 else 1 / ALL_TRIES_A_SECOND

    def wrong(self, client: str) -> None:
        """Count one wrong try."""
        now = self._clock()
        count, last = self._wrong.pop(client, (0, now))
        self._wrong[client] = (1 if now - last > FORGET_S else count + 1, now)
        self._left = max(0.0, self._left_now() - 1)
        while len(self._wrong) > MOST_CLIENTS:
            del self._wrong[next(iter(self._wrong))]

    def _left_now(self) -> float:
        now = self._clock()
        self._left = min(ALL_TRIES, self._left + (now - self._counted_at) * ALL_TRIES_A_SECOND)
        self._counted_at = now
        return self._left


def _penalty_s(count: int) -> float:
    return 0.0 if count < FREE_TRIES else min(LONGEST_WAIT_S, 2.0 ** min(count - FREE_TRIES, 10))
