"""A line in which jobs wait their turn, in the order they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

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

    @contextmanager
    def place(self, number: int) -> Iterator[None]:
        """A place in the line for as long as the job lasts, however it ends."""
        with self.lock:
            self._numbers.append(number)
        try:
            yield
        finally:
            with self.lock:
                self._numbers.remove(number)
                self.lock.notify_all()

    def wait(self, number: int) -> Iterator[int]:
        """Until it is this number's turn; yields how many are before it whenever that changes. Interrupted by `close`."""
        with self.lock:
            closings, said = self._closings, -1
        while said != 0:
            with self.lock:
                self.lock.wait_for(lambda: self._closings != closings or self._numbers.index(number) != said)  # noqa: B023
                if self._closings != closings:
                    raise Interrupted("the studio was stopped", "start it again")
                said = self._numbers.index(number)
            if said:
                yield said

    def close(self) -> None:
        """Send everybody home who waits now."""
        with self.lock:
            self._closings += 1
            self.lock.notify_all()
