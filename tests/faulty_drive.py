"""A Drive that fails, and the whole save path run at every point where it can: `python tests/faulty_drive.py [KIND ...]`.

The Drive is a plain folder; its faults are injected into the system calls of the process that saves (`syscalls`), not
into a stand-in of our own functions: a FUSE file system needs a device and rights that CI has not, and a stand-in in
Python would only fail where its author thought of it. Every call on Drive is a point; for the end of the process or of the
machine, every call that changes Drive or the local disk. Each point is one run of the path, from the same start,
in a process of its own; then what is on the disks is opened as a new process would, once more as a new machine would
(Drive alone), and then the spool goes on without faults.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import syscalls
from syscalls import Call, Next

from fsd.data.session import Session, create, writing
from fsd.errors import FsdError
from fsd.runtime import files
from fsd.runtime.lock_record import LOCK_NAME
from fsd.runtime.spool import aside, safe
from fsd.runtime.spool.local_first import FSD_LOCAL, working
from fsd.runtime.spool.spool import Spool
from fsd.runtime.spool.state import WRITTEN
from fsd.weights import checkpoint

SAVED, REFUSED, TRACEBACK = 0, 3, 4
CKPT = "dog.safetensors"
TICK = "/fsd-tick"
"""Looked at by the process under test while it waits, so that time is counted and not slept."""
Look = Callable[[Call], Next]


class Place:
    """One Drive and one local disk. before: UNet checkpoints 1 and 2 and a CKPT are on Drive, notes.json says 1."""

    def __init__(self, top: Path) -> None:
        self.drive, self.local, self.claims = top / "drive", top / "local", top / "claims"
        os.environ[FSD_LOCAL] = str(self.local)
        self.drive.mkdir()
        self.session = create(self.drive, "dog")
        for step in (1, 2):
            save(self.session, step)
        files.write_json(self.session.folder / "notes.json", 1)

    def claim(self, what: str) -> None:
        with self.claims.open("a") as stream:
            stream.write(what + "\n")

    def touched(self, call: Call, local: bool = False) -> bool:
        tops = (str(self.drive), str(self.local)) if local else (str(self.drive),)
        return call.path.startswith(tops) or call.other.startswith(tops)


def save(session: Session, step: int, claim: Callable[[str], None] = lambda what: None) -> None:
    """The whole save path: lock, checkpoint on the local disk, prune, CKPT, spool, Drive, retire.

    claim: told of what is called saved, once it is.
    """

    def write(folder: Path) -> None:
        (folder / "unet").mkdir()
        (folder / "unet" / "weights.safetensors").write_bytes(b"%d" % step * 9000)
        (folder / "optimizer.safetensors").write_bytes(b"state %d" % step)

    place = working(session.checkpoints)
    with writing(session):
        saved = checkpoint.save_checkpoint(place, "unet", step, False, {}, write)
        claim("checkpoint")
        checkpoint.prune(place, "unet", 1)
        spool = Spool(session.folder, pause=lambda _: Path(TICK).exists())
        spool.add(f"checkpoints/{saved.name}", keep=1)
        spool.forget(CKPT)  # what is called written from here on is the new one
        with files.replacing(working(session.folder) / CKPT) as temporary:
            temporary.write_bytes(b"%d" % step * 9000)
        spool.add(CKPT)
        spool.work()


def body(place: Place) -> int:
    """Save checkpoint 3 and notes 2, putting down each claim once it is made; the exit status says how it went."""
    with redirect_stdout(StringIO()):
        try:
            save(place.session, 3, place.claim)
            files.write_json(place.session.folder / "notes.json", 2)
            place.claim("notes")
        except (FsdError, OSError) as fault:  # write_json leaves OSError to the verbs
            return REFUSED if isinstance(fault, FsdError) or fault.filename or fault.errno else TRACEBACK
        except BaseException:
            return TRACEBACK
    return SAVED


# --- what can go wrong: each makes, for the N-th point, a function that looks at every call -----------------------------


def at(place: Place, point: int, act: Callable[[Call], Next | None], names: str = "", local: bool = False) -> Look:
    """Do something at the N-th call on Drive (local: or on the local disk), counting only calls of these names."""
    seen = [0]

    def look(call: Call) -> Next:
        if not place.touched(call, local) or (names and call.name not in names.split()):
            return Next.GO_ON
        seen[0] += 1
        place.reached = seen[0] >= point  # type: ignore[attr-defined]
        return act(call) or Next.GO_ON if seen[0] == point else Next.GO_ON

    return look


def failing(code: int, forever: bool = False, names: str = "") -> Callable[[Place, int], Look]:
    def make(place: Place, point: int) -> Look:
        def fail(call: Call) -> Next:
            call.error = code
            return Next.GO_ON if forever else Next.LOOK_AWAY

        once, over = at(place, point, fail, names), [False]

        def look(call: Call) -> Next:
            if over[0] and place.touched(call) and (not names or call.name in names.split()):
                call.error = code
                return Next.GO_ON
            following = once(call)
            over[0] = bool(call.error)
            return following

        return look

    return make


def killed(place: Place, point: int) -> Look:
    """kill -9 before each call that changes a disk: between two of these nothing on it tells one kill from another."""
    return at(place, point, lambda call: Next.KILL, CHANGES, local=True)


def without_power(place: Place, point: int) -> Look:
    """The machine ends before each call that changes what is on its disks for good: files written and not synced are empty."""
    unsynced: set[str] = set()

    def end(call: Call) -> Next:
        place.show = lambda: [os.truncate(path, 0) for path in unsynced if os.path.isfile(path)]  # type: ignore[attr-defined]
        return Next.KILL

    ending = at(place, point, end, f"{CHANGES} fsync", local=True)

    def look(call: Call) -> Next:
        following = ending(call)
        if following != Next.KILL and place.touched(call, local=True):
            follow(call, unsynced)
        return following

    return look


def follow(call: Call, unsynced: set[str]) -> None:
    """What a call makes of the files that are written and not synced."""
    if call.name == "write":
        unsynced.add(call.path)
    elif call.name in ("fsync", "unlink"):
        unsynced.discard(call.path)
    elif call.name == "rename":
        moved = {path for path in unsynced if Path(path).is_relative_to(call.path)}
        unsynced -= moved | {call.other}
        unsynced |= {str(Path(call.other) / Path(path).relative_to(call.path)) for path in moved}


def short(place: Place, point: int) -> Look:
    def halve(call: Call) -> Next:
        call.count //= 2
        return Next.LOOK_AWAY

    return at(place, point, halve, "write")


def cut(place: Place, point: int) -> Look:
    """Half of what is written is lost, and the write says that it took all."""

    def lie(call: Call) -> Next:
        call.claim, call.count = call.count, call.count // 2
        return Next.LOOK_AWAY

    return at(place, point, lie, "write")


def emptied(place: Place, point: int) -> Look:
    def empty(call: Call) -> Next:
        def after() -> None:
            target = Path(call.other)
            for path in [target] if target.is_file() else files.files_under(target):
                os.truncate(path, 0)

        call.done = after
        return Next.LOOK_AWAY

    return at(place, point, empty, "rename")


def unsent(place: Place, point: int) -> Look:
    """What Drive takes, and gives back as long as the machine lives, has not reached Google when it ends."""

    def take(call: Call) -> Next:
        place.show = lambda: shutil.rmtree(call.other, ignore_errors=True)  # type: ignore[attr-defined]
        return Next.LOOK_AWAY

    checkpoints = str(place.session.checkpoints)
    once = at(place, point, take, "rename")
    return lambda call: once(call) if call.other.startswith(checkpoints) else Next.GO_ON


def late(looks: int) -> Callable[[Place, int], Look]:
    """What was renamed is seen only after so many looks of the waiting process; 0: when it has ended."""

    def make(place: Place, point: int) -> Look:
        hidden: list[Path] = []
        ticks = [0]

        def hide(call: Call) -> None:
            def after() -> None:
                hidden.append(Path(call.other))
                os.rename(call.other, place.drive.parent / "hidden")

            call.done = after

        def show() -> None:
            if hidden and not hidden[0].exists() and (place.drive.parent / "hidden").exists():
                os.rename(place.drive.parent / "hidden", hidden[0])

        place.show = show  # type: ignore[attr-defined]
        once = at(place, point, hide, "rename")

        def look(call: Call) -> Next:
            ticks[0] += bool(hidden) and call.path == TICK
            if looks and ticks[0] >= looks:
                show()
            return once(call)

        return look

    return make


CHANGES = "create write rename mkdir rmdir unlink truncate utimens"
"""Calls after which a disk may hold something else."""
WRITES = "create write fsync mkdir rename close"
KINDS: dict[str, Callable[[Place, int], Look]] = {
    "kill -9": killed,
    "power lost": without_power,
    "ENOSPC": failing(errno.ENOSPC, names=WRITES),
    "ENOSPC from then on": failing(errno.ENOSPC, forever=True, names=WRITES),
    "EIO": failing(errno.EIO),
    "EIO from then on": failing(errno.EIO, forever=True),
    "errno 107 from then on": failing(errno.ENOTCONN, forever=True),
    "short write": short,
    "write that loses half": cut,
    "empty after rename": emptied,
    "never sent to Google": unsent,
    "seen late": late(2),
    "seen after the end": late(0),
}


# --- one point, and all of them ----------------------------------------------------------------------------------------


def check(place: Place, status: int, sent: bool) -> list[str]:
    """What is wrong with what is on the disks; empty when the promise was kept. sent: what is written is still there."""
    wrong, said = [], StringIO()
    claims = place.claims.read_text().split() if place.claims.exists() else []
    written = [item.name for item in Spool(place.session.folder).items() if item.state == WRITTEN]
    with redirect_stdout(said):
        newest, alone = newest_on(place, drive_alone=False), newest_on(place, drive_alone=True)
        here = newest_in(working(place.session.checkpoints))
    if status == TRACEBACK:
        wrong.append("no clear error")
    if newest < 2 or ("checkpoint" in claims and newest != 3):
        wrong.append(f"this machine goes on from step {newest}, claimed: {claims}")
    if here < 2:
        wrong.append(f"the local disk alone goes on from step {here}")
    if alone < 2:
        wrong.append(f"Drive alone goes on from step {alone}")
    for name in set(written) - {CKPT} if sent else ():
        try:
            checkpoint.verify_checkpoint(place.session.folder / name)
        except FsdError as fault:
            wrong.append(f"called written: {fault.message}")
    notes = text_of(place.session.folder / "notes.json").strip()
    if notes not in ("1", "2") or ("notes" in claims and notes != "2"):
        wrong.append(f"notes.json says {notes!r}, claimed: {claims}")
    ckpt, local = (text_of(folder / CKPT) for folder in (place.session.folder, working(place.session.folder)))
    if CKPT in written and ckpt != local:
        wrong.append(f"called written: {CKPT}")
    if local not in ("2" * 9000, "3" * 9000):
        wrong.append(f"no whole {CKPT} on the local disk")
    with suppress(OSError):
        aside.put_all_back(place.session.folder)  # as whoever opens the session next does first
    if text_of(place.session.folder / CKPT) not in ("2" * 9000, "3" * 9000):
        wrong.append(f"no whole {CKPT} on Drive")
    return wrong


def half(place: Place) -> list[str]:
    """What carries a checkpoint's name on either disk and is not whole: a kill finds it under that name whole or not at all."""
    wrong = []
    for folder in (place.session.checkpoints, working(place.session.checkpoints)):
        for path in folder.glob("[!.]*"):
            try:
                checkpoint.verify_checkpoint(path)
            except FsdError as fault:
                wrong.append(f"half there: {fault.message}")
    return wrong


def text_of(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def catch_up(place: Place) -> list[str]:
    """Go on without faults, ten minutes later: what is wrong then."""
    with suppress(FileNotFoundError):  # a lock that a kill cut short is dead after a minute
        os.utime(place.session.folder / LOCK_NAME, (time.time() - 600,) * 2)
    wrong = []
    with redirect_stdout(StringIO()):
        spool = Spool(place.session.folder, pause=lambda _: None)
        safe.bring(spool)
        reached, alone = newest_on(place, drive_alone=False), newest_on(place, drive_alone=True)
        if reached != alone:
            wrong.append(f"Drive was brought to step {alone}, this machine is at {reached}")
        save(place.session, 4)
        left = [item.name for item in spool.pending()]
        alone = newest_on(place, drive_alone=True)
    wrong += [f"{path.name} is left on Drive" for path in place.session.checkpoints.glob(".*")]
    wrong += [f"{left} never came to Drive"] if left else []
    if text_of(place.session.folder / CKPT) != "4" * 9000:
        wrong.append(f"afterwards {CKPT} is not the newest")
    if alone != 4:
        wrong.append(f"afterwards Drive alone is at step {alone}")
    return wrong


def newest_on(place: Place, drive_alone: bool) -> int:
    """The step that a process would go on from: on this machine, or on a new one, which has Drive alone; 0 for none."""
    if drive_alone:
        del os.environ[FSD_LOCAL]
    found = checkpoint.newest_checkpoint(place.session.checkpoints, "unet", print)
    os.environ[FSD_LOCAL] = str(place.local)
    return found.step if found else 0


def newest_in(folder: Path) -> int:
    """The newest step that is whole in one folder; 0 for none."""
    newest, _ = checkpoint.superseded(folder, "unet", print)
    return newest.step if newest else 0


def one(kind: str, point: int, start: Path) -> tuple[bool, list[str]]:
    """(whether there is such a point, what is wrong)."""
    top = start.parent / "run"
    shutil.rmtree(top, ignore_errors=True)
    shutil.copytree(start, top)
    place = Place.__new__(Place)
    place.drive, place.local, place.claims = top / "drive", top / "local", top / "claims"
    os.environ[FSD_LOCAL] = str(place.local)
    place.session = Session(place.drive / "Fast-Dreambooth" / "Sessions" / "dog")
    place.reached, place.show = False, lambda: None  # type: ignore[attr-defined]
    status = syscalls.traced(lambda: body(place), KINDS[kind](place, point))
    reached = place.reached  # type: ignore[attr-defined]
    expected = {SAVED, REFUSED, TRACEBACK} | ({-9} if kind in ("kill -9", "power lost") else set())
    if kind in ("power lost", "never sent to Google"):
        place.show()  # type: ignore[attr-defined]
    wrong = [] if status in expected else [f"ended with {status}"]
    wrong += half(place) if kind == "kill -9" else []
    wrong += check(place, status, sent=kind != "never sent to Google")
    with suppress(OSError):
        place.show()  # type: ignore[attr-defined]
    return reached, [f"{kind}, point {point}: {fault}" for fault in wrong + catch_up(place)]


def main(kinds: list[str]) -> int:
    """Try every point of every kind; print how many there were and what went wrong. Returns how many went wrong."""
    files.LOOK_AGAIN_S = (0.0, 0.0, 0.0)
    total, wrong = 0, []
    memory = Path("/dev/shm")  # the same calls, and no disk to wait for
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        # the local twin mirrors the whole path, so the start lies where every run lies
        start, run = Path(folder) / "start", Path(folder) / "run"
        run.mkdir()
        with redirect_stdout(StringIO()):
            Place(run)
        os.rename(run, start)
        for kind in kinds or KINDS:
            point = 0
            while point < 5000:
                reached, found = one(kind, point + 1, start)
                if not reached:
                    break
                point += 1
                wrong += found
            total += point
            print(f"{kind}: {point} points", flush=True)
    print(f"{total} points tried, {len(wrong)} failed", flush=True)
    print("\n".join(wrong[:10]), flush=True)
    return len(wrong)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
