"""How many photos there are to train on, told before any is copied or decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fsd.data.decode import decode
from fsd.data.sources import Entry, Source, has_photo_suffix, opened
from fsd.errors import SessionError
from fsd.runtime.files import sha256


def count_photos(source: Source, there: Sequence[Path], exactly: bool) -> int:
    """How many photos there will be with those in `source`; SessionError when it is missing or holds none.

    there: a session's photos, with which some may be the same. exactly: read their bytes, so that none counts twice. A
    damaged one counts: it is found out when it is added.
    """
    with opened(source) as entries:
        found = [entry for entry in entries if _seems_photo(entry)]
        if not found:
            told = f"there are no photos in {source}: only {', '.join(entry.name for entry in entries[:3])}"
            raise SessionError(told, "give a folder, files or a zip with your photos")
        if not exactly:
            return len(there) + len(found)
        return len({sha256(path) for path in there} | {hashlib.sha256(entry.read()).hexdigest() for entry in found})


def photo_bytes(source: Source, there: Sequence[Path]) -> int:
    """The size of what a session would take of `source`. there: its photos."""
    sizes = {path.stat().st_size for path in there}
    with opened(source) as entries:
        return sum(entry.size_bytes for entry in entries if entry.size_bytes not in sizes)


def _seems_photo(entry: Entry) -> bool:
    if entry.is_caption or entry.fault or not entry.size_bytes:
        return False
    if has_photo_suffix(entry.name):
        return True
    try:
        return bool(decode(entry.read(), entry.name, max_side_px=64))
    except SessionError:
        return False
