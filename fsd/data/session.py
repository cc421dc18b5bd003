"""A session: one folder with everything about one subject, from its photos to its CKPT."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from fsd.data.copying import becoming
from fsd.data.describe import describe
from fsd.data.folder import FORMAT, SUITE, Session, is_session, new_manifest, read_manifest
from fsd.data.lock import writing
from fsd.data.names import check_name, is_plain, user_path
from fsd.errors import SessionError
from fsd.runtime.files import need_mounted, write_json
from fsd.runtime.spool.local_first import forget

__all__ = ["FORMAT", "SUITE", "Session", "check_name", "create", "describe", "list_sessions", "open_session"]
__all__ += ["open_session_folder", "read_manifest", "sessions_folder", "writing"]

FOLDERS = ("instance_images", "held_out_images", "captions", "class_images", "checkpoints", "samples", "logs")


def sessions_folder(root: Path | str) -> Path:
    """Where the sessions below `root` (a Drive folder or any other) lie."""
    return user_path(root) / SUITE / "Sessions"


def create(root: Path | str, name: str) -> Session:
    """A new, empty session; SessionError if the name is bad or taken, or the place above `root` is missing."""
    folder = sessions_folder(root) / check_name(name)
    if folder.exists():
        raise SessionError(f"there is already a session {name!r} in {folder.parent}", "open it, or choose another name")
    check_root(root)
    return _make(folder)


def open_session(root: Path | str, name: str, create: bool = False) -> Session:
    """The session of that name, also of the original suite; SessionError if there is none, unless `create`.

    A folder that is there may have a name that would not be given to a new session.
    """
    there = sessions_folder(root)
    folder = there / (name if is_plain(name) and (there / name).is_dir() else check_name(name))
    if folder.is_dir() and not (create and not any(folder.iterdir())):
        return open_session_folder(folder)
    check_root(root, to_read=not create)
    if create:
        return _make(folder)
    names = [session.name for session in list_sessions(root)]
    close = get_close_matches(name, names, n=1)
    known = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}" if names else "create it first"
    raise SessionError(f"there is no session {name!r} in {folder.parent}", known)


def _make(folder: Path) -> Session:
    forget(folder)  # of a session of that name that was there before
    try:
        with becoming(folder) as stage:
            for part in FOLDERS:
                (stage / part).mkdir()
            write_json(stage / "session.json", new_manifest(folder.name, original=False))
    except OSError as fault:
        raise SessionError(f"session {folder.name!r} cannot be made: {fault}", "check permissions and space") from None
    return Session(folder)


def open_session_folder(folder: Path | str) -> Session:
    """The session in a folder; SessionError if the folder holds none or one of a newer format."""
    folder = user_path(folder)
    if not folder.is_dir():
        raise SessionError(f"there is no folder {folder}", "check the path")
    if not is_session(folder):
        raise SessionError(f"{folder} is no session: it has no session.json and no instance_images", "check the path")
    read_manifest(folder)
    return Session(folder)


def list_sessions(root: Path | str) -> list[Session]:
    """Every session below `root`, sorted by name; empty when there is none."""
    folder = sessions_folder(root)
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [Session(path) for path in sorted(found) if is_session(path)]


def check_root(root: Path | str, to_read: bool = False) -> None:
    """SessionError unless `root` is a folder or can become one: a Drive that is not mounted is not papered over.

    to_read: it must be there.
    """
    root = user_path(root)
    need_mounted(root)
    if root.exists() and not root.is_dir():
        raise SessionError(f"{root} is a file, not a folder", "give the folder that the sessions are to lie in")
    if not root.exists() and not root.parent.is_dir():
        raise SessionError(f"there is no folder {root.parent}", "mount Drive first, or give a folder that exists")
    if to_read and not root.exists():
        raise SessionError(f"there is no folder {root}", "check the path (root, or FSD_HOME); open_session makes it")
