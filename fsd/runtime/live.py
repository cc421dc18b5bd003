"""A picture that is shown while work goes on and drawn anew, as notebooks can; elsewhere nothing is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

_LOOK_S = 2.0


@contextmanager
def shown(places: Sequence[Path]) -> Iterator[None]:
    """While inside a notebook's cell, show the newest of these PNG files that is written meanwhile, and again when it changes.

    It goes when the block ends: what the work gave then speaks for itself.
    """
    handle = _handle()
    if handle is None:
        yield
        return
    ended = Event()
    looking = Thread(target=_look, args=(places, handle, ended, _newest(places)), daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()
        handle.update({"text/plain": ""}, raw=True)


def _look(places: Sequence[Path], handle: Any, ended: Event, seen: tuple[int, Path] | None) -> None:
    while not ended.wait(_LOOK_S):
        newest = _newest(places)
        if newest and newest != seen:
            with suppress(OSError):  # a Drive that has died meanwhile
                handle.update({"image/png": newest[1].read_bytes()}, raw=True)
            seen = newest


def _newest(places: Sequence[Path]) -> tuple[int, Path] | None:
    """(time in ns, path) of the file written last; None when there is none."""
    found = []
    for place in places:
        with suppress(OSError):
            found.append((place.stat().st_mtime_ns, place))
    return max(found, default=None)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return bool(getattr(shell, "kernel", None))


def _handle() -> Any:
    """What a notebook's cell can be changed through later; None outside of notebooks."""
    if not in_notebook():
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
