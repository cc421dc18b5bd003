"""What the hub's client does without a word while the hub does not answer, told in our words."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from fsd.runtime import report

_WHY = re.compile(r"\[Errno -?\d+\] ([A-Za-z ]+)|HTTP Error (\d+)|(timed out)", re.IGNORECASE)
_AGAIN = re.compile(r"(?:Retrying in|Waiting) ([\d.]+)s.*\[Retry (\d+)/(\d+)\]")


class _Retries(logging.Handler):
    """Says each new try, and why; never the client's own lines, which may hold addresses and tokens."""

    def __init__(self, what: str) -> None:
        super().__init__(logging.WARNING)
        self._what, self._why = what, ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if found := _WHY.search(text):
            self._why = f" ({(found[1] or found[2] or found[3]).strip()})"
        if found := _AGAIN.search(text):
            turn, last = int(found[2]) + 1, int(found[3]) + 1
            report.say(
                f"{self._what}: the hub does not answer{self._why}; try {turn} of {last} in {float(found[1]):.0f} s"
            )


@contextmanager
def retries_said(what: str) -> Iterator[None]:
    """While inside, each further try of the hub's client is said in one line. what: the repository that is asked for."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers, logger.propagate = [_Retries(what)], False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.handlers, logger.level, logger.propagate = before
