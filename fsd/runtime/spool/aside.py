"""What steps aside on Drive for what takes its place: deleted once that is proven, put back if it never is.

A folder cannot take another's name in one step, and a file that took it may read as empty. A kill between the two steps
leaves the older one under a temporary name, and whoever delivers there next, on whichever machine, puts it back first.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsd.runtime import files

_MARK = f"{files.TEMPORARY_MARK}aside-"


@contextmanager
def stepping(target: Path) -> Iterator[None]:
    """While inside, what is at `target` has another name; then it is gone, or on an error back."""
    old = target.with_name(f".{target.name}{_MARK}") if target.exists() else None
    if old:
        os.rename(target, old)
    try:
        yield
    except BaseException:
        if old and old.exists():
            remove(target)
            with suppress(OSError):
                os.rename(old, target)
        raise
    if old:
        remove(old)


def put_back(target: Path) -> None:
    """Give what stepped aside its name again, if nothing has taken its place."""
    old = target.with_name(f".{target.name}{_MARK}")
    if old.exists() and not os.path.lexists(target):
        os.rename(old, target)


def put_all_back(folder: Path) -> None:
    """The same for everything in a folder."""
    for old in folder.glob(f".*{_MARK}"):
        put_back(old.with_name(old.name.removeprefix(".").removesuffix(_MARK)))


def clear(target: Path) -> None:
    """Delete what interrupted deliveries to `target` left."""
    for left in target.parent.glob(f".{glob.escape(target.name)}{files.TEMPORARY_MARK}*"):
        remove(left)


def remove(place: Path) -> None:
    """Delete a file or folder that may not be there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with suppress(OSError):
            place.unlink()
