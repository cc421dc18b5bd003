"""Where on this machine's own disk lies what is meant for Drive: its local twin.

Training never writes to Drive. It writes whole checkpoints to the twin of its session's folder, and `spool` brings them
to Drive behind its back. So training goes on while Drive is full, slow or dead, and a kill between the two loses nothing:
whoever looks for the newest whole checkpoint looks in both places (`checkpoint.newest_checkpoint`), the twin first.
A session on an ordinary disk has no twin, and everything is written straight into it, as ever.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from fsd.runtime import drive, files, report
from fsd.runtime.spool.state import LOCAL, SpoolState

FSD_LOCAL = "FSD_LOCAL"
"""Names a folder on the local disk; then the twin of every folder lies there, which is right for any slow network disk."""


def twin(folder: Path) -> Path | None:
    """The local twin of a folder on Drive, which need not exist; None for a folder that is on this machine's disk."""
    chosen = os.environ.get(FSD_LOCAL)
    if not chosen and not drive.on_drive(folder):
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    top = Path(os.path.abspath(chosen)) if chosen else cache / "fsd" / "drive"
    there = Path(os.path.abspath(folder))
    return None if there.is_relative_to(top) else top / there.relative_to(there.anchor)


def working(folder: Path) -> Path:
    """Where to write what is meant for `folder`: its local twin if it has one, else the folder itself."""
    return twin(folder) or folder


def brought(path: Path) -> Path:
    """Where to go on writing a log: its twin, with Drive's content if that goes further; else the file itself."""
    local = twin(path)
    if local is None:
        return path
    with suppress(OSError):  # of a Drive that is dead, too: then the twin is gone on with
        if path.is_file() and _goes_further(path, local):
            with files.replacing(local) as temporary:
                shutil.copy2(path, temporary)
    return local


def _goes_further(there: Path, here: Path) -> bool:
    """Whether a log is a longer one, or a newer one of another run; Drive's times alone say when it was copied."""
    if not here.is_file():
        return True
    theirs, ours = there.read_bytes(), here.read_bytes()
    if theirs.startswith(ours) or ours.startswith(theirs):
        return len(theirs) > len(ours)
    return there.stat().st_mtime > here.stat().st_mtime


def forget(folder: Path) -> int:
    """Delete the local twin of a folder that is made anew or goes away; return the bytes freed.

    A twin with what never came to Drive is kept under a name of its own, which is said.
    """
    local = twin(folder)
    if local is None or not local.is_dir():
        return 0
    left = [item.name for item in SpoolState(local).items().values() if item.state == LOCAL]
    if not left:
        return files.remove_folder(local)
    kept = local.with_name(f"{local.name}.{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    os.rename(local, kept)
    report.say(f"what was only on this machine's disk is kept in {kept}: {', '.join(left)}")
    return 0
