"""One writer at a time: a lock file in the session, created exclusively, naming process, host and time."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from fsd.errors import SessionError

LOCK_NAME = ".writer.lock"

_held: dict[Path, int] = {}
"""Locks of this process and how deeply they are nested."""


class Writable(Protocol):
    """What a writer needs of a session."""

    @property
    def folder(self) -> Path: ...
    def adopt(self) -> None: ...


@contextmanager
def writing(session: Writable, take_over: bool = False) -> Iterator[None]:
    """Be the session's only writer; SessionError naming the holder if another living process is.

    The lock of a dead process of this host is taken over; `take_over` takes any. Within one process it nests.
    """
    if not session.folder.is_dir():
        raise SessionError(f"there is no folder {session.folder}", "open or create the session first")
    path = session.folder.resolve() / LOCK_NAME
    if path not in _held:
        _acquire(path, take_over)
    _held[path] = _held.get(path, 0) + 1
    try:
        session.adopt()
        yield
    finally:
        _held[path] -= 1
        if not _held[path]:
            del _held[path]
            _release(path)


def holder(folder: Path) -> dict[str, Any] | None:
    """Who writes now, as {pid, host, since}; None when nobody does or the writer is dead."""
    record = _read(folder / LOCK_NAME)
    return None if record is None or _is_dead(record) else record


def _acquire(path: Path, take_over: bool) -> None:
    for _ in range(3):
        if _create(path):
            return
        record = _read(path)
        if record is None:
            continue
        if not (take_over or _is_dead(record)):
            raise _busy(path, record)
        _set_aside(path, record)
    raise SessionError(f"{path.parent.name} is being opened by several processes at once", "try again")


def _create(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(_own_record(), stream)
    return True


def _own_record() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "started": _started(os.getpid())}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        record = {}
    return record if isinstance(record, dict) else {}


def _is_dead(record: dict[str, Any]) -> bool:
    pid = record.get("pid")
    if record.get("host") != socket.gethostname() or type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return record.get("started") not in (None, "", _started(pid))  # else the number is a younger process's now


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot (Linux; empty elsewhere)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _set_aside(path: Path, seen: dict[str, Any]) -> None:
    """Remove the lock just read; if another process took it over meanwhile, give it back."""
    aside = path.with_name(f"{path.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) != seen and not path.exists():
        os.rename(aside, path)
    else:
        aside.unlink()


def _release(path: Path) -> None:
    record = _read(path) or {}
    if (record.get("pid"), record.get("host")) == (os.getpid(), socket.gethostname()):
        path.unlink(missing_ok=True)


def _busy(path: Path, record: dict[str, Any]) -> SessionError:
    who = f"process {record.get('pid', '?')} on {record.get('host', 'an unknown host')}"
    return SessionError(
        f"session {path.parent.name!r} is being written by {who} since {record.get('since', 'an unknown time')}",
        f"wait for it or stop it; if it no longer runs, delete {path} and run again",
    )
