"""What a lock says: which process of which host writes, since when, and whether it can still be alive."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOCK_NAME = ".writer.lock"
DEAD_SECONDS = 300.0
"""A lock of another host that is untouched for so long is dead."""
UNREADABLE_SECONDS = 60.0
"""A lock that says nothing is being written just now, or was cut short by a full disk: dead after so long."""


def holder(folder: Path) -> dict[str, Any] | None:
    """Who writes now, as {pid, host, boot, since, touched}; None when nobody does or the writer is dead."""
    record = read(folder / LOCK_NAME)
    return None if record is None or is_dead(record) else record


def elsewhere(folder: Path) -> dict[str, Any] | None:
    """Who writes now on another machine, as `holder` tells it; None when nobody does, or it cannot be told who."""
    record = holder(folder)
    return record if record and type(record.get("pid")) is int and not is_here(record) else None


def who(record: dict[str, Any]) -> str:
    """A writer in words: "process 7 on another-machine"."""
    return f"process {record.get('pid', '?')} on {record.get('host', 'an unknown host')}"


def own_record() -> dict[str, Any]:
    """What this process writes into a lock."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), **this_machine(), "since": since, "started": _started(os.getpid())}


def is_own(path: Path) -> bool:
    """Whether the lock at a path is this process's."""
    record = read(path) or {}
    return record.get("pid") == os.getpid() and is_here(record)


def this_machine() -> dict[str, str]:
    """What tells this machine from others: its name, which clones and containers may share, and its boot's id (Linux)."""
    return {"host": socket.gethostname(), "boot": _boot()}


def is_here(record: dict[str, Any]) -> bool:
    """Whether a record names this machine, since its last boot."""
    return {"host": record.get("host"), "boot": record.get("boot", _boot())} == this_machine()


def read(path: Path) -> dict[str, Any] | None:
    """What a lock says and when it was touched (seconds since 1970); None when there is none."""
    touched = time.time()
    try:
        touched = path.stat().st_mtime
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        record = {}
    return (record if isinstance(record, dict) else {}) | {"touched": touched}


def ends(record: dict[str, Any]) -> float:
    """When a lock is dead if nobody touches it, in seconds since 1970; for a process of this host, never."""
    if type(record.get("pid")) is not int or record["pid"] <= 0:
        return record["touched"] + UNREADABLE_SECONDS
    return math.inf if is_here(record) else record["touched"] + DEAD_SECONDS


def is_dead(record: dict[str, Any]) -> bool:
    """Whether what a lock says can be true no longer."""
    end = ends(record)
    if end < math.inf:
        return time.time() > end
    pid = record["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return record.get("started") not in (None, "", _started(pid))  # else the number is a younger process's now


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot (Linux; empty elsewhere)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
