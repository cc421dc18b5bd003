"""Waiting until everything is as safe as it can be made here, and only then giving the machine back."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from fsd.errors import MachineError
from fsd.runtime import colab, drive, report, sealing
from fsd.runtime.report import human_bytes
from fsd.runtime.spool.deliver import FULL
from fsd.runtime.spool.google_drive import GoogleDrive
from fsd.runtime.spool.retire import series
from fsd.runtime.spool.spool import Spool
from fsd.runtime.spool.state import LOCAL, WRITTEN

CHECKPOINTS = "checkpoints"
WAIT_S = 3600.0
_LOOK_S = 5.0
_NOT_YET = "run fsd sync --wait again; until then do not end this machine, the only copy may be on its disk"
_WRITTEN_MEANS = (
    f"{WRITTEN!r}: read back there, but maybe still on its way to Google (fsd sync --ask-google: confirmed)"
)


def spool_of(folder: Path, ask_google: bool = False) -> Spool:
    """The spool of a session's folder for a verb: it mounts a dead Drive again, which only a notebook's cell can.

    ask_google: have the Drive API confirm what arrived, for which Colab asks the user.
    """
    confirm = GoogleDrive().has if ask_google and drive.on_drive(folder) else None
    return Spool(folder, confirm, drive.mount if drive.on_drive(folder) and colab.in_colab() else None)


@contextmanager
def spooling(folder: Path) -> Iterator[Spool]:
    """Bring to Drive in the background what is added while a stage runs, and the rest when it ends, however it ends."""
    spool = Spool(folder).start()
    try:
        yield spool
    finally:
        spool.stop()
        bring(spool)


def bring(spool: Spool) -> bool:
    """Bring to Drive all that can be brought now; whether that was all. What was not is said, with where it is."""
    pick_up(spool)
    spool.work()
    left = [item for item in spool.items() if item.state == LOCAL]
    if left:
        report.say(f"NOT YET ON DRIVE, only on this machine's disk: {', '.join(item.name for item in left)}")
        why = left[0].why or "another process is copying"
        first = f"{FULL}; then " if _is_full(why) else ""
        report.say(f"  because: {why}. What to do: {first}run fsd sync --wait")
    return not left


def _is_full(why: str) -> bool:
    return any(os.strerror(code) in why for code in (errno.ENOSPC, errno.EDQUOT))


def pick_up(spool: Spool) -> None:
    """Add the newest whole checkpoint of each stage if a kill between its saving and its adding left it unknown."""
    if spool.local is None:
        return
    newest: dict[str, tuple[int, str]] = {}
    for path in (spool.local / CHECKPOINTS).glob("[!.]*-*"):
        if (found := series(path.name)) and sealing.is_whole(path):
            newest[found[0]] = max(newest.get(found[0], (-1, "")), (found[1], f"{CHECKPOINTS}/{path.name}"))
    known = {item.name for item in spool.items()}
    for _, name in newest.values():
        if name not in known:
            spool.add(name)


def as_text(spool: Spool) -> str:
    """The state of everything on its way, as a table; what is left to do and why."""
    if spool.local is None:
        return f"{spool.target} is kept on this machine only: nothing is copied to Drive"
    rows = [[item.name, human_bytes(item.size_bytes), item.state, item.why] for item in spool.items()]
    if not rows:
        return "nothing is on its way to Drive"
    told = report.table(rows, ["what", "size", "state", "why not further"])
    return f"{told}\n{_WRITTEN_MEANS}" if spool.highest == WRITTEN else told


def wait(spool: Spool, timeout_s: float = WAIT_S, pause: Callable[[float], object] | None = None) -> str:
    """Work until everything has reached the highest state there is; return that state.

    MachineError naming what has not, where it is and why, after `timeout_s`; it stays on the local disk.
    """
    ends, pause = time.monotonic() + timeout_s, pause or Event().wait
    pick_up(spool)
    spool.work()
    while spool.pending() or spool.unsure:
        if time.monotonic() >= ends:
            raise MachineError(_not_yet(spool), _NOT_YET)
        pause(_LOOK_S)
        spool.work()
    return spool.highest


def _not_yet(spool: Spool) -> str:
    if not (left := spool.pending()):
        return "what was written to Drive cannot be looked for there: Drive does not answer"
    first = left[0]
    told = f"{len(left)} of {len(spool.items())} are not yet {spool.highest}, such as {first.name}: {first.state}"
    return f"{told} ({first.why or 'its turn has not come'})"


def disconnect(
    spool: Spool,
    timeout_s: float = WAIT_S,
    flush: Callable[[float], None] = colab.flush_drive,
    end: Callable[[], None] = colab.end_runtime,
) -> None:
    """Give the machine back to Colab, once everything has the highest state there is; never before.

    Drive is first told to send everything, also what only lies there (photos, captions, settings), and unmounted.
    MachineError, with the machine still there, when something does not get so far; each of the two has `timeout_s`.
    """
    if spool.local is None:
        raise MachineError(
            f"{spool.target} is on this machine's disk and would be lost", "export the session first, or use Drive"
        )
    reached = wait(spool, timeout_s)
    try:
        flush(timeout_s)
    except Exception as fault:  # ValueError, or pexpect's
        told = f"Drive could not send everything to Google: {colab.first_line(fault)}"
        raise MachineError(told, "the machine goes on; run fsd sync --wait, then try again") from fault
    report.say(f"everything is {reached}; this machine is given back")
    try:
        end()
    except Exception as fault:
        told = f"Colab did not take the machine back: {colab.first_line(fault)}"
        raise MachineError(told, "choose Runtime, Disconnect and delete runtime: nothing will be lost") from fault
