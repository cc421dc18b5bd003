"""A download under way: the bytes so far and what they are bytes of, so that another process can go on."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from fsd.errors import DownloadError, MachineError
from fsd.runtime import files
from fsd.runtime.report import human_bytes

SPARE_BYTES = 64 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Facts:
    """What a server said of a file. validator: its ETag or date for If-Range (RFC 9110, 13.1.5), "" if it gave none."""

    name: str
    size_bytes: int | None
    validator: str


def link_key(url: str) -> str:
    """Eight letters that stand for a link in file names."""
    return hashlib.sha256(url.encode()).hexdigest()[:8]


class Partial:
    """The hidden file in `folder` that grows until it is whole; held by one process at a time.

    What an earlier process left is gone on with if the server named a version of it; otherwise it is thrown away.
    pieced: whether the bytes came over several connections.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.path = folder / f".{link_key(url)}{files.TEMPORARY_MARK}download"
        self.record = folder / f".{link_key(url)}{files.TEMPORARY_MARK}download.json"
        self.facts: Facts | None = None
        self.pieced = False

    def __enter__(self) -> Partial:
        try:
            files.make_folder(self.path.parent)
            self._stream = self.path.open("ab")
        except OSError as fault:
            raise _unwritable(self.path.parent, fault) from None
        self._hold()
        self.facts = _read(self.record)
        if self.facts is None or not self.facts.validator:
            self.restart()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()
        if kind and self.path.exists() and not self.path.stat().st_size:
            self.discard()

    @property
    def size_bytes(self) -> int:
        """The bytes that are there."""
        return self._stream.tell()

    def resume_headers(self) -> dict[str, str]:
        """What asks for the bytes that are missing, as long as the file has not changed; nothing at the start."""
        if not self.size_bytes or not self.facts:
            return {}
        unchanged = {"If-Range": self.facts.validator} if self.facts.validator else {}
        return {"Range": f"bytes={self.size_bytes}-", **unchanged}

    def describe(self, facts: Facts) -> None:
        """Record what the bytes belong to, before those of another connection are added."""
        self.pieced = bool(self.size_bytes)
        if facts != self.facts:
            self.facts = facts
            files.write_json(self.record, asdict(facts))

    def need_room(self) -> None:
        """MachineError if what is missing does not fit on the disk."""
        missing = ((self.facts and self.facts.size_bytes) or 0) - self.size_bytes
        free = shutil.disk_usage(self.path.parent).free
        if self.facts and missing + SPARE_BYTES > free:
            raise _no_room(self.path.parent, f"{self.facts.name} needs {human_bytes(missing)} more", free)

    def write(self, block: bytes) -> None:
        """Add bytes. MachineError when the disk is full; then nothing is kept, for a full disk stops everything else."""
        try:
            self._stream.write(block)
            self._stream.flush()
        except OSError as fault:
            if fault.errno in _FULL:
                self.discard()
            raise _unwritable(self.path.parent, fault) from None

    def restart(self) -> None:
        """Throw away the bytes."""
        self._stream.seek(0)
        self._stream.truncate()
        self.facts = None
        self.record.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete the bytes and what is known of them."""
        self.path.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)

    def finish(self, destination: Path) -> None:
        """Give the synced file its name."""
        os.fsync(self._stream.fileno())
        os.replace(self.path, destination)
        files.sync(destination.parent)
        self.record.unlink(missing_ok=True)

    def _hold(self) -> None:
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            hint = "wait until it is done, then run this again"
            raise DownloadError(f"another process downloads the same link into {self.path.parent}", hint) from None
        except OSError:  # some file systems, such as mounted Drives, have no locks
            return


def _read(record: Path) -> Facts | None:
    try:
        return Facts(**json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _unwritable(folder: Path, fault: OSError) -> MachineError:
    if fault.errno in _FULL:
        return _no_room(folder, "the disk is full", None)
    return MachineError(f"{folder} cannot be written: {fault.strerror}", f"make it writable{_elsewhere(folder)}")


def _no_room(folder: Path, what: str, free: int | None) -> MachineError:
    left = "" if free is None else f", and {human_bytes(free)} are free"
    return MachineError(f"no space in {folder}: {what}{left}", f"make room there{_elsewhere(folder)}")


def _elsewhere(folder: Path) -> str:
    """How to have such a folder on another disk: by the variable that it lies below, if there is one."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    places = {"FSD_HOME": os.environ.get("FSD_HOME"), "XDG_CACHE_HOME": cache}
    there = folder.absolute()
    name = next((name for name, place in places.items() if place and there.is_relative_to(Path(place).absolute())), "")
    return f", or set {name} to a folder on a disk with room" if name else ""
