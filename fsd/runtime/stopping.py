"""Ctrl-C and SIGTERM: what this process does when it is told to stop, from its first moment to its last.

While modules load nothing has been made, and it leaves at once. While it works the signal is an exception, `Stopped`, so
that all that is open is closed. A child that trains notes it and saves (`train.loop`); a parent passes it on (`process`).
A signal that was ignored when the process began, as of what a shell starts in the background, stays ignored.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 0.05
_STILL = b"\nfsd: it is stopping; once more, and it leaves at once\n"

_came: list[int] = []
"""The signals that came since `raising`."""


class Stopped(KeyboardInterrupt):
    """This process was told to stop, by Ctrl-C or SIGTERM."""


def exit_code() -> int:
    """The exit code of what was stopped, as shells have it: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_came[0] if _came else signal.SIGINT)


def note(number: int) -> None:
    """Remember a signal that was dealt with elsewhere, for the exit code."""
    _came.append(number)


def leaving(last_word: Callable[[], None] = lambda: None) -> None:
    """From now on a signal ends this process at once, after one word: there is nothing to be saved."""

    def leave(number: int, frame: Any) -> None:
        last_word()
        os._exit(128 + number)

    _handle(leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def raising() -> None:
    """From now on the first signal raises `Stopped`, and the third, for whom that takes too long, ends the process."""
    sys.unraisablehook = _raise_again
    _handle(_raise)


def ignoring() -> None:
    """From now on signals change nothing: the last word is being said."""
    _handle(lambda number, frame: None)


def passes_on(handler: Any) -> bool:
    """Whether a handler that was there before only notes signals, so that it can be told what a child is told, too."""
    return callable(handler) and handler not in (signal.default_int_handler, _raise)


@contextmanager
def held_back() -> Iterator[None]:
    """While inside, signals wait; a process that is started inside begins so, until `leaving` lets them through."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heeded() -> list[int]:
    """The signals that are not ignored, where they are ours to handle: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def _handle(handler: Any) -> None:
    for number in heeded():
        signal.signal(number, handler)


def _raise(number: int, frame: Any) -> None:
    note(number)
    if len(_came) == 1:
        raise Stopped
    if len(_came) > 2:
        os._exit(exit_code())
    os.write(2, _STILL)


def _raise_again(unraisable: Any) -> None:
    """Where `Stopped` came in a place from which nothing is raised, such as the end of an object's life: a moment later."""
    if isinstance(unraisable.exc_value, Stopped):
        number = _came.pop()
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)).start()
    else:
        sys.__unraisablehook__(unraisable)
