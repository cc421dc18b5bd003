"""A line in which jobs wait their turn, in the order they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from fsd.errors import Interrupted


class Line:
    """One job is at its head and is being done; the others wait. lock: guards whatever its owner shares."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self._numbers: deque[int] = deque()
        self._closings = 0

    @property
    def head(self) -> int | None:
        """The number whose turn it is."""
        return self._numbers[0] if self._numbers else None

    @property
    def waiting(self) -> int:
        """How many are behind the head."""
        return max(0, len(self._numbers) - 1)

    def join(self, number: int) -> None:
        """Take a place at the end."""
        with self.lock:
            self._numbers.append(number)

    def leave(self, number: int) -> None:
        """Give the place up, if it is still taken: when the job is over, or before its turn, which ends its `wait`."""
        with self.lock:
            if number in self._numbers:
                self._numbers.remove(number)
                self.lock.notify_all()

    def wait(self, number: int) -> Iterator[int]:
        """Until it is this number's turn; yields how many are before it whenever that changes. Interrupted by `close`."""
        with self.lock:
            closings, said = self._closings, -1
        while said != 0:
            with self.lock:
                self.lock.wait_for(lambda: self._closings != closings or self._before(number) != said)  # noqa: B023
                if self._closings != closings:
                    raise Interrupted("the studio was stopped", "start it again")
                said = self._before(number)
            if said:
                yield said

    def _before(self, number: int) -> int:
        """How many are before it; 0 too for one that has left."""
        return self._numbers.index(number) if number in self._numbers else 0

    def close(self) -> None:
        """Send everybody home who waits now."""
        with self.lock:
            self._closings += 1
            self.lock.notify_all()
