"""The hardware as the doctor looks at it: GPU and driver, memory, disk, Drive. The standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from fsd.runtime import colab, drive
from fsd.runtime.doctor.finding import BOTH, TRAINING, WEB_UI, Findings
from fsd.runtime.report import human_bytes

LEAST_FREE_BYTES = 2_000_000_000
"""With less, not even a checkpoint of the smallest full-size model can be written beside the last good one."""
ROOMY_BYTES = 20_000_000_000
"""What a full-size model takes with two checkpoints of each stage and its CKPT."""
_LEAST_DRIVER = {"11": 450, "12": 525, "13": 580}
"""The oldest driver that runs programs of a CUDA release, by its major version (NVIDIA's compatibility table)."""
_DRIVE_ANSWERS_S = 10.0
_DRIVE_FULL_BYTES = 500_000_000


def look_at_gpu(found: Findings, torch: str | None) -> None:
    """Add the GPU, its driver, and whether the installed torch can use them."""
    gpu = _ask_driver()
    found.figures["gpu"] = gpu
    if not gpu:
        found.say("GPU", "none: the tiny base model trains on a CPU, others need a GPU")
        if colab.in_colab():
            found.problem("this runtime has no GPU", "Runtime > Change runtime type > T4 GPU, then run this again")
        return
    found.say("GPU", f"{gpu['name']}, {gpu['memory']}, driver {gpu['driver']}")
    if torch and torch.endswith("+cpu"):
        found.problem(
            f"torch {torch} is a build without CUDA: the GPU would not be used",
            "install torch for this GPU, then run fsd setup train",
        )
    cuda = re.search(r"\+cu(1\d)", torch or "")
    driver = re.match(r"\d+", gpu["driver"])
    if cuda and driver and int(driver[0]) < _LEAST_DRIVER.get(cuda[1], 0):
        found.problem(
            f"the GPU's driver {gpu['driver']} is too old for torch {torch}",
            f"update the driver to {_LEAST_DRIVER[cuda[1]]} or newer",
            TRAINING,
            WEB_UI,
        )


def look_at_memory(found: Findings) -> None:
    """Add the main memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = _available_bytes()
    found.figures |= {"memory_bytes": total, "available_memory_bytes": free, "cores": os.cpu_count()}
    available = f", {human_bytes(free)} available" if free is not None else ""
    found.say("memory", f"{human_bytes(total)}{available}; {os.cpu_count()} cores")


def look_at_disk(found: Findings, folder: Path) -> None:
    """Add the free space of the working folder's disk."""
    try:
        free, total = shutil.disk_usage(folder).free, shutil.disk_usage(folder).total
    except OSError as fault:
        found.problem(f"the disk of {folder} cannot be read: {fault.strerror}", "work in another folder", *BOTH)
        return
    found.figures |= {"free_disk_bytes": free, "disk_bytes": total}
    found.say("disk", f"{human_bytes(free)} free of {human_bytes(total)}")
    if free < LEAST_FREE_BYTES:
        found.problem(
            f"the disk is full: {human_bytes(free)} free, {human_bytes(LEAST_FREE_BYTES)} is the least",
            "delete what you do not need (fsd free-drive-space SESSION deletes what can be made again)",
            *BOTH,
        )
    elif free < ROOMY_BYTES:
        found.problem(
            f"{human_bytes(free)} of disk is little: a full-size model takes {human_bytes(ROOMY_BYTES)} to train",
            "free some disk before you train one; the tiny base model fits",
        )


def look_at_drive(found: Findings) -> None:
    """Add where sessions are kept, and on Colab the state of Drive and its free space. Drive is not mounted by this."""
    chosen = os.environ.get("FSD_HOME")
    if chosen or not colab.in_colab():
        found.say("sessions", f"in {'FSD_HOME' if chosen else 'the current folder'}, not on Google Drive")
        found.figures["drive"] = {"state": "not used"}
        if chosen and not os.access(chosen, os.W_OK):
            found.problem("the folder that FSD_HOME names cannot be written", "name another one in FSD_HOME", *BOTH)
        return
    state, free = _drive_state(colab.MOUNT_POINT / drive.MY_DRIVE)
    found.figures["drive"] = {"state": state, "free_bytes": free}
    found.say("Drive", state if free is None else f"{state}, {human_bytes(free)} free")
    again = "run the cell 'Open session': it mounts Drive again (fsd does so by itself where a cell runs)"
    if state == "mounted" and free is not None and free < _DRIVE_FULL_BYTES:
        step = "make room on Drive and empty its bin, which counts too"
        found.problem(f"Google Drive is full: {human_bytes(free)} free", step, *BOTH)
    elif state == "not mounted":
        found.problem("Google Drive is not mounted", "run the cell 'Open session': it mounts Drive")
    elif state == "read-only":
        step = "Runtime > Restart session, then run the cell 'Open session'"
        found.problem("Google Drive is mounted, but nothing can be written to it", step, *BOTH)
    elif state != "mounted":
        found.problem(f"Google Drive is dead: {state}", f"{again}; if that hangs, Runtime > Restart session", *BOTH)


def _drive_state(folder: Path) -> tuple[str, int | None]:
    """(state, free bytes): asked in a thread, as a dead mount may never answer."""
    answer: list[tuple[str, int | None]] = []

    def ask() -> None:
        found = drive.state(folder)
        with suppress(OSError):
            answer.append((found, shutil.disk_usage(folder).free if found in ("mounted", "read-only") else None))
        if not answer:
            answer.append((found, None))

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_DRIVE_ANSWERS_S)
    return answer[0] if answer else ("it does not answer", None)


def _ask_driver() -> dict[str, Any]:
    """What the driver says of the first GPU; empty without one."""
    names = ("name", "memory", "driver", "compute_capability")
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return {}
    parts = [part.strip() for part in said.split(",")]
    return dict(zip(names, parts, strict=True)) if len(parts) == len(names) else {}


def _available_bytes() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else None
