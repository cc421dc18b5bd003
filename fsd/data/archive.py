"""Sessions go out, as a folder or a zip, and into the bin; `import_session` brings them in."""

from __future__ import annotations

import os
import zipfile
from datetime import datetime
from pathlib import Path

from fsd.data.copying import becoming, copied, files_of
from fsd.data.folder import CKPT_SUFFIXES, SUITE, Session, is_session
from fsd.data.incoming import import_session
from fsd.data.lock import writing
from fsd.data.names import user_path
from fsd.errors import MachineError, SessionError
from fsd.runtime.files import replacing
from fsd.runtime.lock_record import LOCK_NAME
from fsd.runtime.space import Need, need_room
from fsd.runtime.spool.local_first import forget
from fsd.runtime.spool.safe import bring
from fsd.runtime.spool.spool import Spool

__all__ = ["export_session", "import_session", "remove_session"]

_NO_FOLDERS = {".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar", *CKPT_SUFFIXES}
"""How files end that people may expect from an export."""


def export_session(session: Session, destination: Path | str) -> Path:
    """The session, without cache/, as a new zip if `destination` ends in .zip, else as a folder.

    Into a folder that exists, and is no session itself, it goes under its name. SessionError if that is taken, is inside
    a session, or can be neither.
    """
    target = user_path(destination)
    if target.suffix.lower() != ".zip" and target.is_dir() and not is_session(target):
        target = target / session.name
    _need_place(session, target)
    with writing(session):
        bring(Spool(session.folder))  # what is still only on this machine's disk belongs to it
        files = files_of(session.folder)
        need_room([Need("the copy", target.parent, sum(path.stat().st_size for path in files))])
        try:
            (_write_zip if target.suffix.lower() == ".zip" else _write_folder)(session, files, target)
        except OSError as fault:
            told = f"{target} cannot be written: {fault.strerror or fault}"
            raise MachineError(told, "choose another place, or check its permissions and space") from None
    return target


def _need_place(session: Session, target: Path) -> None:
    """SessionError unless a session can be exported to exactly that path."""
    if target.exists():
        raise SessionError(f"{target} is there already", "choose another name, or move it away first")
    around = [place for place in target.parents if place == session.folder or (place / "session.json").is_file()]
    if around:
        raise SessionError(f"{target} is inside the session {around[0]}", "choose a place outside")
    if not target.parent.is_dir():
        raise SessionError(f"there is no folder {target.parent}", "make it first, or choose one that is there")
    if target.suffix.lower() in _NO_FOLDERS:
        told = f"{target.name} is neither a folder nor a zip, and sessions are exported as nothing else"
        raise SessionError(told, f"call it {target.name.partition('.')[0] or session.name}.zip, or name a folder")


def remove_session(session: Session) -> Path:
    """Where the session is now: ROOT/Fast-Dreambooth/bin/NAME-YYYYmmdd-HHMMSS. Deleting that folder frees its bytes."""
    suite = session.folder.parent.parent
    if suite.name != SUITE or not is_session(session.folder):
        raise SessionError(f"{session.folder} is not in a sessions folder", "delete it by hand if you mean to")
    with writing(session):
        bring(Spool(session.folder))
        bin_folder = suite / "bin"
        bin_folder.mkdir(exist_ok=True)
        stem = f"{session.name}-{datetime.now():%Y%m%d-%H%M%S}"
        names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
        target = next(bin_folder / name for name in names if not (bin_folder / name).exists())
        (session.folder / LOCK_NAME).unlink(missing_ok=True)
        os.replace(session.folder, target)
        forget(session.folder)
    return target


def _write_zip(session: Session, files: list[Path], target: Path) -> None:
    """Stored, not packed: photos and weights are dense already, and a bomb check never stumbles over them."""
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", strict_timestamps=False) as archive:
        for path in files:
            archive.write(path, f"{session.name}/{path.relative_to(session.folder).as_posix()}")


def _write_folder(session: Session, files: list[Path], target: Path) -> None:
    with becoming(target) as folder:
        for path in files:
            copied(path, folder / path.relative_to(session.folder))
