"""Memory and disk as the doctor looks at them. The standard library only."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from fsd.runtime.doctor.bounded import in_time
from fsd.runtime.doctor.finding import BOTH, TRAINING, Findings
from fsd.runtime.doctor.image import typed
from fsd.runtime.report import human_bytes

LEAST_FREE_BYTES = 2_000_000_000
"""With less, not even a checkpoint of the smallest full-size model can be written beside the last good one."""
ROOMY_BYTES = 20_000_000_000
"""What a full-size model takes with two checkpoints of each stage and its CKPT."""
ROOMY_MEMORY_BYTES = 6_000_000_000
"""The weights of SD 1.5 in fp32, 4.3 GB, are read into main memory before they go to the GPU; torch takes the rest."""
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def look_at_memory(found: Findings) -> None:
    """Add the main memory: the machine's, or the container's where that is less."""
    total = min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits()])
    free = _available_bytes()
    found.figures |= {"memory_bytes": total, "available_memory_bytes": free, "cores": os.cpu_count()}
    available = f", {human_bytes(min(free, total))} available" if free is not None else ""
    found.say("memory", f"{human_bytes(total)}{available}; {os.cpu_count()} cores")
    if total < ROOMY_MEMORY_BYTES:
        said = f"{human_bytes(total)} of memory is little: a full-size model takes {human_bytes(ROOMY_MEMORY_BYTES)}"
        found.problem(said, "take a machine with more memory for a full-size model; the tiny base model fits")
        found.limit(TRAINING, "for the tiny base model alone: there is little memory")


def look_at_disk(found: Findings) -> None:
    """Add the free space of the current folder's disk."""
    usage = in_time(lambda: shutil.disk_usage(Path.cwd()))
    if usage is None:
        found.problem("the current folder cannot be read", "change to another folder (cd) and run this again", *BOTH)
        return
    found.figures |= {"free_disk_bytes": usage.free, "disk_bytes": usage.total}
    found.say("disk", f"{human_bytes(usage.free)} free of {human_bytes(usage.total)}")
    _judge(found, "the disk", usage.free, typed("du -xhd2 . ~ | sort -h | tail"))


def look_at_home_disk(found: Findings, home: Path) -> None:
    """Add the free space where FSD_HOME is, unless that is the current folder's disk. home: a folder that is there."""
    if in_time(lambda: home.stat().st_dev == Path.cwd().stat().st_dev):
        return
    usage = in_time(lambda: shutil.disk_usage(home))
    if usage is None:
        found.problem("the disk of FSD_HOME does not answer", "name another folder in FSD_HOME", *BOTH)
        return
    found.figures["free_home_bytes"] = usage.free
    found.say("", f"{human_bytes(usage.free)} free of {human_bytes(usage.total)} there")
    another = "or name a folder on a larger disk in FSD_HOME"
    _judge(found, "the disk of FSD_HOME", usage.free, f"{typed('du -xhd2 $FSD_HOME | sort -h | tail')}, {another}")


def _judge(found: Findings, disk: str, free: int, largest: str) -> None:
    """Add that a disk is full, or has little room. largest: what shows what lies there."""
    if free < LEAST_FREE_BYTES:
        said = f"{disk} is full: {human_bytes(free)} free, {human_bytes(LEAST_FREE_BYTES)} is the least"
        found.problem(said, f"delete what you do not need; this shows what is large: {largest}", *BOTH)
    elif free < ROOMY_BYTES:
        found.problem(
            f"{human_bytes(free)} free on {disk} is little: a full-size model takes {human_bytes(ROOMY_BYTES)} to train",
            f"free some disk before you train one; the tiny base model fits; this shows what is large: {largest}",
        )


def _limits() -> list[int]:
    """What a container may take at most, where it is told."""
    found = []
    for file in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(file.read_text(encoding="ascii")))
    return found


def _available_bytes() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else None
