"""Whether a folder on Drive still answers: asked in a thread of its own, because a dead Drive may never answer."""

from __future__ import annotations

import errno
import os
import time
import uuid
from pathlib import Path

from fsd.runtime.patience import Patience

MARK = ".fsd-heartbeat"
TIMEOUT_S = 30.0
WRITE_S = 30 * 60.0
"""How often something is written, between which the folder is only looked at: Drive keeps every version of a file."""
_ALIVE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""A Drive that is full or may not be written to answers; its state is said where something is to be written."""


class Heartbeat:
    """Asks a folder whether it is alive. One question at a time: while one is unanswered, no other thread is started."""

    def __init__(self, folder: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.folder = folder
        self._patience = Patience(timeout_s)
        self._written = -WRITE_S
        self._before = ""

    def fault(self) -> str:
        """Why the folder is dead; "" while it lives.

        It is there, and does not read as it was before something was written to it (a stale read).
        """
        try:
            return self._patience.run(self._ask)
        except TimeoutError as fault:
            return str(fault)
        except OSError as fault:
            return "" if fault.errno in _ALIVE else os.strerror(fault.errno or errno.EIO)

    def _ask(self) -> str:
        if not self.folder.is_dir():
            return f"there is no folder {self.folder}"
        mark = self.folder / MARK
        if time.monotonic() - self._written >= WRITE_S:
            self._before = _read(mark)
            _write(mark, uuid.uuid4().hex)  # in its place: a file made anew each time would fill Drive's bin
            self._written = time.monotonic()
        # another process may have written since: only what was there before is stale
        return "what is read there is stale" if self._before and _read(mark) == self._before else ""


def _read(mark: Path) -> str:
    return mark.read_text(encoding="utf-8", errors="replace") if mark.is_file() else ""


def _write(mark: Path, beat: str) -> None:
    with mark.open("w", encoding="utf-8") as stream:
        stream.write(beat)
        stream.flush()
        os.fsync(stream.fileno())
