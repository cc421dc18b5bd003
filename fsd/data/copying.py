"""Files copied so that a folder appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from fsd.data.names import is_silent
from fsd.runtime.files import files_under, make_folder, sync, temporary_beside
from fsd.runtime.lock_record import LOCK_NAME
from fsd.runtime.spool.turn import TURN

LEFT_OUT = {"cache"}


def files_of(folder: Path) -> list[Path]:
    """What belongs to a session: plain files, without cache, lock, housekeeping and links."""
    files = [path for path in files_under(folder) if path.is_file() and not path.is_symlink()]
    return [path for path in files if belongs(path.relative_to(folder))]


def belongs(inner: Path | PurePosixPath) -> bool:
    """Whether a path inside a session is part of it, and not cache, lock or housekeeping."""
    return inner.parts[0] not in LEFT_OUT and inner.name not in (LOCK_NAME, TURN) and not is_silent(str(inner))


def copied(source: Path, target: Path) -> None:
    """Copy a file with its time, making the folders above it."""
    make_folder(target.parent)
    shutil.copy2(source, target)


def moved(moves: list[tuple[Path, Path]]) -> None:
    """Give files new names that are free, in order: all of them or, on an error, none."""
    with ExitStack() as undo:
        for source, target in moves:
            os.replace(source, target)
            undo.callback(os.replace, target, source)
        undo.pop_all()


@contextmanager
def becoming(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` on a clean exit, and otherwise is gone."""
    make_folder(target.parent)
    stage = temporary_beside(target)
    stage.mkdir()
    try:
        yield stage
        for path in stage.rglob("*"):
            sync(path)
        os.rename(stage, target)
        sync(target.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
