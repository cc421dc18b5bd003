"""One writer at a time: a lock file in the session, created exclusively, naming process, host and time.

Its holder touches it every minute, so that the lock of a machine that is gone is known by its age. Drive may show one
machine's lock to another too late: then both write until one sees the other's, which says so and stops at its next save.
Nothing is lost meanwhile: what one machine put on Drive no other replaces (see `spool`).
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol

from fsd.errors import MachineError, SessionError
from fsd.runtime import report
from fsd.runtime.lock_record import LOCK_NAME, elsewhere, ends, is_dead, is_own, own_record, read, who
from fsd.runtime.patience import within
from fsd.runtime.spool import aside

TOUCH_SECONDS = 60.0

RELEASE_SECONDS = 30.0
"""How long a Drive that does not answer is waited for when a lock is let go of."""

_held: set[Path] = set()
"""Locks of this process."""
_lost: dict[Path, dict[str, Any]] = {}
"""Locks of this process that turned out to be another machine's, and what they say."""


class Writable(Protocol):
    """What a writer needs of a session."""

    @property
    def folder(self) -> Path: ...
    def adopt(self) -> None: ...


@contextmanager
def writing(session: Writable) -> Iterator[None]:
    """Be the session's only writer; SessionError naming the holder if another living process is.

    The lock of a dead process is taken over: on this host at once, on another when it is untouched for five minutes.
    Within one process it nests. MachineError when the session cannot be written to at all.
    """
    need_folder(session.folder)
    path = session.folder.resolve() / LOCK_NAME
    with nullcontext() if path in _held else _locked(path):
        session.adopt()
        yield


def need_turn() -> None:
    """SessionError once another machine was seen to write what this process writes; Drive, maybe dead, is not asked."""
    for path, other in _lost.items():
        told = f"session {path.parent.name!r} is now written by {who(other)}, too: this run stops"
        raise SessionError(told, "what it made is kept on this machine's disk; run it again once the other has ended")


def need_folder(folder: Path) -> None:
    """SessionError when a session's folder is not there, as when Drive was unmounted, MachineError when Drive is dead."""
    try:
        there = folder.is_dir()
    except OSError as fault:
        told = f"session {folder.name!r} cannot be reached: {fault.strerror or fault}"
        raise MachineError(told, "run the cell 'Open session' again, which mounts Drive anew") from None
    if not there:
        raise SessionError(f"there is no folder {folder}", "open or create the session first")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        _acquire(path)
    except OSError as fault:
        told = f"session {path.parent.name!r} cannot be written to: {fault.strerror or fault}"
        raise MachineError(told, f"free some space, or check the permissions of {path.parent}") from None
    _held.add(path)
    done = Event()
    Thread(target=_keep_touching, args=(path, done), daemon=True).start()
    try:
        with suppress(OSError):  # what a kill left between two renames
            for place in (path.parent, path.parent / "checkpoints"):
                aside.put_all_back(place)
        yield
    finally:
        _held.discard(path)
        _lost.pop(path, None)
        done.set()
        within(RELEASE_SECONDS, lambda: _release(path))


def _release(path: Path) -> None:
    """Delete our lock; a Drive that is away keeps it, and it is dead by its age when Drive is back."""
    if is_own(path):
        path.unlink(missing_ok=True)


def _acquire(path: Path) -> None:
    for _ in range(3):
        if _create(path):
            return
        record = read(path)
        if record is None:
            continue
        if not is_dead(record) and not is_own(path):  # our own: of a time when Drive was away as we let go of it
            raise _busy(path, record)
        if _set_aside(path, record):
            report.say(f"taking over session {path.parent.name!r}: {who(record)}, which wrote it, is gone")
    raise SessionError(f"{path.parent.name} is being opened by several processes at once", "try again")


def _create(path: Path) -> bool:
    with ExitStack() as undo:
        try:
            with path.open("x", encoding="utf-8") as stream:
                undo.callback(path.unlink)
                json.dump(own_record(), stream)
        except FileExistsError:
            return False
        undo.pop_all()
    return True


def _keep_touching(path: Path, done: Event) -> None:
    """Touch the lock; once it is another machine's, say so, and let `need_turn` stop the work."""
    while not done.wait(TOUCH_SECONDS):
        with suppress(OSError):  # Drive may be away for a while
            if is_own(path):
                os.utime(path)
            elif path in _held and path not in _lost and (other := elsewhere(path.parent)):
                _lost[path] = other
                told = f"SESSION {path.parent.name!r} IS NOW ALSO WRITTEN by {who(other)}"
                report.say(f"{told}: what runs here stops at its next checkpoint, and copies nothing more to Drive")


def _set_aside(path: Path, seen: dict[str, Any]) -> bool:
    """Remove the lock just read; if another process took it over or touched it meanwhile, give it back (False)."""
    aside = path.with_name(f"{path.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    if read(aside) != seen and not path.exists():
        os.rename(aside, path)
        return False
    aside.unlink()
    return True


def _busy(path: Path, record: dict[str, Any]) -> SessionError:
    end = ends(record)
    return SessionError(
        f"session {path.parent.name!r} is being written by {who(record)} since {record.get('since', 'an unknown time')}",
        "wait for it or stop it" + (f"; if it is gone, run this again after {_clock(end)}" if end < math.inf else ""),
    )


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S} UTC"
