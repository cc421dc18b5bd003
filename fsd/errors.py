"""What can go wrong, as a small tree. Every error says what failed, with which value, and what to do next."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class FsdError(Exception):
    """Something the user can act on: shown as two lines, never as a traceback.

    message: what failed, naming the value. hint: what to do next.
    """

    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message and the hint, without a traceback."""
        return [str(self)]

    def to_json(self) -> dict[str, Any]:
        """The error as one JSON object; `code` is stable across releases."""
        return {"code": self.code, "error": self.message, "hint": self.hint}


class MachineError(FsdError):
    """The machine cannot do it: memory, disk, a missing package, a child process that died."""

    code = "machine"


def missing_package(error: ModuleNotFoundError) -> MachineError:
    """What to say when a package that a job needs is not there."""
    hint = "install what the job needs: fsd setup train (with the web UI: fsd setup all)"
    return MachineError(f"the package {error.name} is not installed", hint)


def foreseen(error: Exception) -> FsdError | None:
    """An error of any kind in words for the user, where there is something to do about it."""
    if isinstance(error, FsdError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" at {error.filename}" if error.filename else ""
        return MachineError(f"the disk is full{place}", "free some space and run the same command again")
    return None


class DownloadError(FsdError):
    """A file could not be fetched, or is not what was asked for."""

    code = "download"


class UploadError(FsdError):
    """A file could not be sent, or is not there as it was sent."""

    code = "upload"


class SessionError(FsdError):
    """A session, its photos or its captions cannot be used as they are."""

    code = "session"


class RecipeError(FsdError):
    """Settings that cannot be used, alone or together."""

    code = "recipe"


class WeightsError(FsdError):
    """A model file or folder is damaged, incomplete, unsafe or of another kind."""

    code = "weights"


class TrainingError(FsdError):
    """Training had to stop: the loss is not a number, or the state on disk is of another run."""

    code = "training"


class Interrupted(FsdError):
    """Asked to stop (Ctrl-C, SIGTERM): the state is saved and the same command goes on. Said in one line."""

    code = "interrupted"

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


def meant(word: str, names: Iterable[str]) -> str:
    """ "did you mean NAME? " for the name that is most like a mistyped word and begins most like it; "" if none is like it."""
    alike = get_close_matches(word, list(names), n=3)
    same = {
        name: next((i for i, (a, b) in enumerate(zip(name, word, strict=False)) if a != b), len(word)) for name in alike
    }
    return f"did you mean {max(alike, key=same.__getitem__)}? " if alike else ""


_KINDS = {kind.code: kind for kind in FsdError.__subclasses__()}


def from_json(record: dict[str, Any]) -> FsdError:
    """The error that a child process printed with `to_json`."""
    return _KINDS.get(record.get("code", ""), FsdError)(record.get("error", ""), record.get("hint", ""))
