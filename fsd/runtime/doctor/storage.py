"""Where sessions are kept, as the doctor looks at it: Drive, FSD_HOME or the current folder. Nothing is mounted or written."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from fsd.runtime import colab, drive
from fsd.runtime.doctor.bounded import in_time
from fsd.runtime.doctor.finding import BOTH, Findings
from fsd.runtime.doctor.image import typed
from fsd.runtime.doctor.vitals import look_at_home_disk
from fsd.runtime.report import human_bytes

_DRIVE_FULL_BYTES = 500_000_000
_DRIVE_ROOMY_BYTES = 6_000_000_000
"""A full-size checkpoint, another while it is replaced, and the CKPT; optimizer states come on top."""
_ANOTHER = "name a folder of your own in FSD_HOME"
_MOUNT = "run the cell 'Open session': it mounts Drive"


def look_at_sessions(found: Findings) -> None:
    """Add where sessions are kept; on Drive its state and its free space."""
    chosen = os.environ.get("FSD_HOME")
    if colab.in_colab() if not chosen else drive.on_drive(Path(chosen)):
        _look_at_drive(found)
        return
    place = "FSD_HOME" if chosen else "the current folder"
    lost = colab.in_colab()
    found.say("sessions", f"in {place}, not on Google Drive{': LOST when Colab ends this runtime' if lost else ''}")
    found.figures["drive"] = {"state": "not used"}
    if chosen:
        _look_at_home(found, Path(chosen).expanduser())
    elif not in_time(lambda: os.access(os.curdir, os.W_OK)):
        found.problem("nothing can be written into the current folder", _ANOTHER, *BOTH)


def _look_at_home(found: Findings, home: Path) -> None:
    """Add what keeps sessions from being kept in FSD_HOME: fsd makes that folder, and none above it."""
    made = typed('mkdir -p "$FSD_HOME"')
    there = in_time(lambda: next(one for one in (home, *home.absolute().parents) if os.path.lexists(one)))
    if there is None:
        found.problem("FSD_HOME does not answer", _ANOTHER, *BOTH)
    elif not there.is_dir():
        what = "FSD_HOME names a file" if there == home else "a folder above that of FSD_HOME is a file"
        found.problem(f"{what}, not a folder", _ANOTHER, *BOTH)
    elif not os.access(there, os.W_OK):
        found.problem("nothing can be written into FSD_HOME", _ANOTHER, *BOTH)
    elif there not in (home, home.absolute().parent):
        found.problem("FSD_HOME names a folder below one that is not there", made, *BOTH)
    else:
        if there != home:
            found.problem("FSD_HOME names a folder that is not there yet: it is made with the first session", made)
        look_at_home_disk(found, there)


def _look_at_drive(found: Findings) -> None:
    state, free = in_time(_drive_state) or ("it does not answer", None)
    found.figures["drive"] = {"state": state, "free_bytes": free}
    found.say("Drive", state if free is None else f"{state}, {human_bytes(free)} free")
    if state == "mounted":
        if free is not None:
            _look_at_room(found, free)
    elif state == "not mounted":
        found.problem("Google Drive is not mounted", _MOUNT)
    elif state == "read-only":
        found.problem("Google Drive is mounted, but nothing can be written to it", f"{_MOUNT} again", *BOTH)
    else:
        step = f"{_MOUNT} again; if that hangs: Runtime > Restart session, and that cell again"
        found.problem(f"Google Drive is dead: {state}", step, *BOTH)


def _look_at_room(found: Findings, free: int) -> None:
    step = "make room on Drive and empty its bin, which counts too; the cell 'Clean session' deletes what can be made again"
    if free < _DRIVE_FULL_BYTES:
        found.problem(f"Google Drive is full: {human_bytes(free)} free", step, *BOTH)
    elif free < _DRIVE_ROOMY_BYTES:
        least = human_bytes(_DRIVE_ROOMY_BYTES)
        found.problem(f"Google Drive is nearly full: {human_bytes(free)} free, a full-size model takes {least}", step)


def _drive_state() -> tuple[str, int | None]:
    """(state, free bytes)."""
    folder = colab.MOUNT_POINT / drive.MY_DRIVE
    found = drive.state(folder)
    with suppress(OSError):
        return found, shutil.disk_usage(folder).free if found in ("mounted", "read-only") else None
    return found, None
