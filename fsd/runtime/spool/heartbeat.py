"""Whether a folder on Drive still answers: asked in a thread of its own, because a dead Drive may never answer."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path
from threading import Thread

from fsd.runtime import files

MARK = ".fsd-heartbeat"
TIMEOUT_S = 30.0
_ALIVE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""A Drive that is full or may not be written to answers; its state is said where something is to be written."""


class Heartbeat:
    """Asks a folder whether it is alive. One question at a time: while one is unanswered, no other thread is started."""

    def __init__(self, folder: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.folder, self.timeout_s = folder, timeout_s
        self._answers: list[str] = []
        self._asking: Thread | None = None

    def fault(self) -> str:
        """Why the folder is dead; "" while it lives.

        It is there, and a small file written to it reads as it was written, not as it was before (a stale read).
        """
        if self._asking is None or not self._asking.is_alive():
            self._answers.clear()
            self._asking = Thread(target=lambda: self._answers.append(self._ask()), daemon=True)
            self._asking.start()
        self._asking.join(self.timeout_s)
        return self._answers[0] if self._answers else f"it has not answered for {self.timeout_s:.0f} s"

    def _ask(self) -> str:
        mark, beat = self.folder / MARK, uuid.uuid4().hex
        try:
            if not self.folder.is_dir():
                return f"there is no folder {self.folder}"
            self.folder.stat()
            files.write_text(mark, beat)
            return "" if mark.read_text(encoding="utf-8") == beat else "what is read there is stale"
        except OSError as fault:
            return "" if fault.errno in _ALIVE else os.strerror(fault.errno or errno.EIO)
        except Exception as fault:
            return str(fault).partition("\n")[0]
