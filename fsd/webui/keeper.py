"""Keeps one command and all that it starts, and ends them with whoever holds our standard input. Run by its path.

    python keeper.py COMMAND ARGUMENTS...

Ends when the command ends, with its exit code (128 + N for the signal N), when standard input is closed: by the parent,
or by the system when the parent died of whatever; and when it has another parent, as a fork of the old one may still
hold the input. Nothing that the command started outlives it, daemons included
(Linux; elsewhere its process group). Standard library only: it runs beside any environment.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_S = 5.0
_PARENT_CHECK_S = 1.0
_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36


def main(command: list[str]) -> int:
    """Run the command to its end or ours; return the exit code."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, frame: asked.append(caught))
    signal.signal(signal.SIGCHLD, lambda caught, frame: None)
    _adopt_orphans()
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_keeper if _linux() else None,
        close_fds=False,  # what we were given to pass on, and nothing of ours: Python's own are not inherited
    )  # fmt: skip
    status, parent = None, os.getppid()
    while status is None and not asked and os.getppid() == parent:
        ready, _, _ = select.select([0, woken], [], [], _PARENT_CHECK_S)
        if woken in ready:
            os.read(woken, 4096)
        if 0 in ready and not os.read(0, 4096):
            break
        status = _reap(child.pid)
    return _end_all(child.pid, status)


def end(keeper: subprocess.Popen[bytes]) -> None:
    """End a keeper from outside, with all that it keeps; by signal too, as a fork of ours may still hold its input."""
    assert keeper.stdin is not None
    keeper.stdin.close()
    keeper.terminate()
    try:
        keeper.wait(3 * GRACE_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def _end_all(child: int, status: int | None) -> int:
    """End whatever is left, politely if the command still runs; return the exit code."""
    if status is None:
        _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while (status := _reap(child)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
    _signal_group(child, signal.SIGKILL)
    deadline = time.monotonic() + GRACE_S
    while (left := _descendants(os.getpid())) and time.monotonic() < deadline:
        for process in left:
            _signal(process, signal.SIGKILL)
        found = _reap(child)
        status = found if status is None else status
        time.sleep(0.01)
    if status is None:
        status = _reap(child)
    return 128 + signal.SIGTERM if status is None else status if status >= 0 else 128 - status


def _reap(child: int) -> int | None:
    """Collect what has ended; the command's exit code (-N for a signal) if it is among it."""
    found = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if process == 0:
            return found
        if process == child:
            found = os.waitstatus_to_exitcode(status)


def _descendants(process: int) -> list[int]:
    """All living processes below one (Linux)."""
    if not _linux():
        return []
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat", "rb") as stream:
                parents[int(name)] = int(stream.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError):
            continue
    below = {process}
    while more := {one for one, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted(below - {process})


def _signal_group(child: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


def _signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _linux() -> bool:
    return sys.platform == "linux"


def _adopt_orphans() -> None:
    """What the command's children leave behind becomes ours, so that it can be found."""
    if _linux():
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)


def _die_with_keeper() -> None:
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
