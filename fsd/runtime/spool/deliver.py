"""A file or folder brought to Drive: temporary name, fsync, rename, read back; only then is it written."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from fsd.errors import MachineError
from fsd.runtime import files, sealing
from fsd.runtime.lock_record import is_here, this_machine
from fsd.runtime.spool import aside

Listing = dict[str, dict[str, Any]]
"""Inner path ("" for a single file) -> {size_bytes, sha256, md5}."""
KINDS = ("sha256", "md5")
CHUNK_BYTES = 8 << 20
LOOKS = 5
"""How often a file that Drive does not show yet is looked for, LOOK_S apart."""
LOOK_S = 2.0
FULL = "run fsd clean-session, and empty Drive's bin, which counts too"
Moved = Callable[[], object]


class SourceGone(Exception):
    """What was to be delivered is no longer there: something newer took its place."""


def deliver(
    source: Path, target: Path, pause: Callable[[float], object], moved: Moved = lambda: None
) -> tuple[Path, Listing]:
    """Copy `source` to `target`; return where it is now, and what was read back there, which is what was sent.

    A target that holds the same already is left as it is; beside a whole one that another machine sealed it gets a name
    of its own. moved: called as it gets on. SourceGone when the source is not there; OSError and MachineError when Drive
    does not take it or does not give it back, or when what is sealed is damaged: what was at `target` is then there
    again, if Drive lets it be.
    """
    aside.put_back(target)
    if os.path.lexists(target):
        sent = _listing(source, moved)
        _need_whole(source, sent)
        if not _differs(target, sent, moved):
            return target, sent
    place = beside(target) if is_anothers(target) else target
    return place, _put(source, place, pause, moved)


def is_anothers(place: Path) -> bool:
    """Whether a whole checkpoint lies there that another machine sealed."""
    if not place.is_dir() or not sealing.is_whole(place):
        return False
    writer = sealing.writer(place)
    return bool(writer) and not is_here(writer)


def beside(target: Path) -> Path:
    """The name of this machine's own where another machine's checkpoint has the name itself."""
    machine = hashlib.sha256(repr(sorted(this_machine().items())).encode()).hexdigest()
    return target.with_name(f"{target.name}.of-{machine[:8]}")


def _put(source: Path, target: Path, pause: Callable[[float], object], moved: Moved) -> Listing:
    """What is at `target` steps aside for what was copied, and goes once that was read back."""
    files.make_folder(target.parent)
    aside.clear(target)
    names = _inner_names(source)
    _need_room(target.parent, sum(files.size_bytes(source / name) for name in names))
    temporary = files.temporary_beside(target)
    try:
        sent = {name: _copy(source / name, temporary / name, moved) for name in names}
        _need_whole(source, sent)
        if is_anothers(target):
            raise MachineError(f"another machine has just put {target.name} there", "")
        with aside.stepping(target):
            os.replace(temporary, target)
            files.sync(target.parent)
            if fault := _settled(target, sent, pause, moved):
                raise MachineError(f"{target.name} is not on Drive as it was written: {fault}", "it is written again")
    finally:
        aside.remove(temporary)
    return sent


def _need_whole(source: Path, sent: Listing) -> None:
    """MachineError when a checkpoint is not what was sealed: an older one on Drive would go for its sake."""
    if sealing.MANIFEST in sent and (inner := sealing.differing(source, sent)):
        told = f"{source.name} is damaged on this machine's disk ({inner})"
        raise MachineError(told, "train again: it goes on from the checkpoint before it")


def _settled(target: Path, sent: Listing, pause: Callable[[float], object], moved: Moved) -> str:
    """What is wrong with `target`, "" once it reads as it was sent; what Drive shows late is waited for."""
    fault = _differs(target, sent, moved)
    for _ in range(LOOKS):
        if not fault:
            break
        pause(LOOK_S)
        moved()
        fault = _differs(target, sent, moved)
    return fault


def _differs(target: Path, sent: Listing, moved: Moved) -> str:
    """What tells the files at `target` from those sent; "" if nothing does. All of them are read."""
    for inner, row in sent.items():
        path = target / inner
        if not path.is_file():
            return f"{path.name} is not there"
        if path.stat().st_size != row["size_bytes"]:
            return f"{path.name} has {path.stat().st_size} of {row['size_bytes']} bytes"
        if _hashed(path, moved, ("sha256",))["sha256"] != row["sha256"]:
            return f"{path.name} has another SHA-256"
    extra = {inner for inner in listing_names(target) if inner not in sent}
    return f"there is also {min(extra)}" if extra else ""


def listing_names(place: Path) -> list[str]:
    """The inner paths of all files below a folder; [""] for a file."""
    return [p.relative_to(place).as_posix() for p in files.files_under(place)] if place.is_dir() else [""]


def sizes(place: Path) -> dict[str, int]:
    """The sizes in bytes of a file, or of all files below a folder, by inner path; empty when there is none."""
    return {name: (place / name).stat().st_size for name in listing_names(place)} if place.exists() else {}


def _inner_names(source: Path) -> list[str]:
    """The same of what is to be sent; SourceGone when there is nothing."""
    names = listing_names(source) if source.exists() else []
    if not names:
        raise SourceGone
    return names


def _listing(source: Path, moved: Moved) -> Listing:
    return {name: _hashed(_there(source / name), moved, KINDS) for name in _inner_names(source)}


def _there(path: Path) -> Path:
    if not path.is_file():
        raise SourceGone
    return path


def _copy(source: Path, target: Path, moved: Moved) -> dict[str, Any]:
    """Copy a file to the disk and return what was read of it, which may grow meanwhile."""
    files.make_folder(target.parent)
    try:
        reading = source.open("rb")
    except FileNotFoundError:
        raise SourceGone from None
    with reading, target.open("xb") as writing:

        def write(chunk: bytes) -> None:
            writing.write(chunk)
            moved()

        row = _hashed_stream(reading, write, KINDS)
        writing.flush()
        os.fsync(writing.fileno())
    return row


def _hashed(path: Path, moved: Moved, kinds: tuple[str, ...]) -> dict[str, Any]:
    """A file's size and hashes as its disk or Drive gives them now, not as this machine's memory still has them."""
    with path.open("rb") as stream:
        with suppress(OSError, AttributeError):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _hashed_stream(stream, lambda chunk: moved(), kinds)


def _hashed_stream(stream: BinaryIO, take: Callable[[bytes], object], kinds: tuple[str, ...]) -> dict[str, Any]:
    hashes, size = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}, 0
    while chunk := stream.read(CHUNK_BYTES):
        take(chunk)
        for found in hashes.values():
            found.update(chunk)
        size += len(chunk)
    return {"size_bytes": size} | {kind: found.hexdigest() for kind, found in hashes.items()}


def _need_room(folder: Path, needed_bytes: int) -> None:
    """MachineError where Drive says that it is full; where it says nothing, or has room by mistake, the write tells."""
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < needed_bytes:
        told = f"{needed_bytes / 1e9:.2f} GB are needed on Drive, {disk.free / 1e9:.2f} GB are free"
        raise MachineError(told, FULL)
