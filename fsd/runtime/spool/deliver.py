"""A file or folder brought to Drive: temporary name, fsync, rename, read back; only then is it written."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsd.errors import MachineError
from fsd.runtime import files

Listing = dict[str, dict[str, Any]]
"""Inner path ("" for a single file) -> {size_bytes, sha256, md5}."""
CHUNK_BYTES = 8 << 20
LOOKS = 5
"""How often a file that Drive does not show yet is looked for, LOOK_S apart."""
LOOK_S = 2.0


class SourceGone(Exception):
    """What was to be delivered is no longer there: something newer took its place."""


def listing(place: Path) -> Listing:
    """Sizes and hashes of a file, or of all files below a folder."""
    paths = files.files_under(place) if place.is_dir() else [place]
    return {"" if path == place else path.relative_to(place).as_posix(): _hashed(path) for path in paths}


def deliver(source: Path, target: Path, pause: Callable[[float], object]) -> Listing:
    """Copy `source` to `target` and return what was read back there, which is what was sent.

    A target that holds the same already is left as it is. SourceGone when the source is not there; OSError and
    MachineError when Drive does not take it or does not give it back: what was at `target` is then there again, if
    Drive lets it be.
    """
    try:
        sent = listing(source)
    except FileNotFoundError:
        raise SourceGone from None
    if not sent:
        raise SourceGone
    if _differs(target, sent):
        _put(source, target, sent, pause)
    return sent


def _put(source: Path, target: Path, sent: Listing, pause: Callable[[float], object]) -> None:
    """A single file takes the place of another in one step; a folder cannot, so the one there steps aside first."""
    files.make_folder(target.parent)
    for left in target.parent.glob(f".{glob.escape(target.name)}{files.TEMPORARY_MARK}*"):  # by a kill
        remove(left)
    _need_room(target.parent, sum(row["size_bytes"] for row in sent.values()))
    temporary, old = files.temporary_beside(target), files.temporary_beside(target)
    try:
        for inner in sent:
            _copy(source / inner, temporary / inner)
        if target.is_dir():
            os.rename(target, old)
        os.replace(temporary, target)
        with suppress(OSError):  # Drive's folders need not know fsync
            files.sync(target.parent)
        if fault := _settled(target, sent, pause):
            raise MachineError(f"{target.name} is not on Drive as it was written: {fault}", "it is written again")
    except BaseException:
        if old.exists():
            remove(target)
            with suppress(OSError):
                os.rename(old, target)
        raise
    finally:
        remove(temporary)
    remove(old)


def remove(place: Path) -> None:
    """Delete a file or folder that may not be there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with suppress(OSError):
            place.unlink()


def _settled(target: Path, sent: Listing, pause: Callable[[float], object]) -> str:
    """What is wrong with `target`, "" once it reads as it was sent; what Drive shows late is waited for."""
    fault = _differs(target, sent)
    for _ in range(LOOKS):
        if not fault:
            break
        pause(LOOK_S)
        fault = _differs(target, sent)
    return fault


def _differs(target: Path, sent: Listing) -> str:
    """What tells the files at `target` from those sent; "" if nothing does. All of them are read."""
    for inner, row in sent.items():
        path = target / inner
        if not path.is_file():
            return f"{path.name} is not there"
        if path.stat().st_size != row["size_bytes"]:
            return f"{path.name} has {path.stat().st_size} of {row['size_bytes']} bytes"
        if files.sha256(path) != row["sha256"]:
            return f"{path.name} has another SHA-256"
    extra = {inner for inner in listing_names(target) if inner not in sent}
    return f"there is also {min(extra)}" if extra else ""


def listing_names(place: Path) -> list[str]:
    """The inner paths of all files below a folder; [""] for a file."""
    return [p.relative_to(place).as_posix() for p in files.files_under(place)] if place.is_dir() else [""]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        reading = source.open("rb")
    except FileNotFoundError:
        raise SourceGone from None
    with reading, target.open("xb") as writing:
        while chunk := reading.read(CHUNK_BYTES):
            writing.write(chunk)
        writing.flush()
        os.fsync(writing.fileno())


def _hashed(path: Path) -> dict[str, Any]:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return {"size_bytes": size, "sha256": sha256.hexdigest(), "md5": md5.hexdigest()}


def _need_room(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        told = f"{needed_bytes / 1e9:.2f} GB are needed on Drive, {free / 1e9:.2f} GB are free"
        raise MachineError(told, "run fsd clean-session, and empty Drive's bin, which counts too")
