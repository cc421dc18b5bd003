"""The files of wheels: fetched side by side with one bar, each checked by its size and SHA-256."""

from __future__ import annotations

import errno
import hashlib
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fsd.errors import DownloadError, MachineError
from fsd.runtime import report
from fsd.runtime.packages.resolve import Wheel

_AT_ONCE = 8
_TRIES = 3
_TIMEOUT_S = 60
_PIECE = 1 << 20


class _Stopped(Exception):
    """Another wheel failed, or Ctrl-C came."""


def fetch_wheels(wheels: Sequence[Wheel], folder: Path) -> list[Wheel]:
    """The wheels as files in a folder; DownloadError that names the first that cannot be had or is not what it must be.

    MachineError when the disk is full. Whatever ends it, Ctrl-C too, ends all at once.
    """
    total = sum(wheel.size_bytes for wheel in wheels)
    turn, stopped = threading.Lock(), threading.Event()
    with bar_of_bytes(total) as bar, ThreadPoolExecutor(_AT_ONCE) as pool:

        def moved(size_bytes: int) -> None:
            if stopped.is_set():
                raise _Stopped
            with turn:
                bar.update(size_bytes)

        try:
            return list(pool.map(lambda wheel: _fetched(wheel, folder, moved), wheels))
        except BaseException:
            stopped.set()
            raise


def bar_of_bytes(total: int) -> Any:
    """A bar of bytes; where tqdm itself is still to come, something that takes its calls."""
    try:
        return report.progress("packages", total or None, unit="B")
    except MachineError:
        return nullcontext(SimpleNamespace(update=lambda size_bytes: None))


def _fetched(wheel: Wheel, folder: Path, moved: Callable[[int], None]) -> Wheel:
    """One wheel as a file in the folder, tried a few times where the network fails."""
    path = folder / wheel.file
    for turn in range(1, _TRIES + 1):
        try:
            found, size_bytes = _copied(wheel.link, path, moved)
            break
        except (OSError, HTTPException) as fault:
            path.unlink(missing_ok=True)
            if isinstance(fault, OSError) and fault.errno == errno.ENOSPC:
                what = f"{wheel.file} has no room: the disk of {folder} is full"
                raise MachineError(what, "free space there, and run it again") from None
            if turn == _TRIES or not wheel.where.startswith("http"):
                why = getattr(fault, "reason", None) or type(fault).__name__
                raise DownloadError(
                    f"{wheel.file} cannot be had: {why}", "check the network and run it again"
                ) from None
            time.sleep(turn)
    if found != wheel.sha256:
        path.unlink(missing_ok=True)
        what = f"{wheel.file} is not what it should be: its SHA-256 is {found}, not {wheel.sha256}"
        raise DownloadError(what, "run it again; if that does not help, report it")
    return replace(wheel, where=str(path), size_bytes=size_bytes)


def _copied(link: str, path: Path, moved: Callable[[int], None]) -> tuple[str, int]:
    """Copy a link's bytes into a file; return their SHA-256 and their count."""
    sum_, size_bytes = hashlib.sha256(), 0
    source = urllib.request.urlopen(link, timeout=_TIMEOUT_S)
    with source, path.open("wb") as target:
        while piece := source.read(_PIECE):
            sum_.update(piece)
            target.write(piece)
            size_bytes += len(piece)
            moved(len(piece))
    return sum_.hexdigest(), size_bytes
