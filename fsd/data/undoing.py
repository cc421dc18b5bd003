"""Undo and redo of what was done to a session's captions and photos, from its journal: also after the notebook died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from fsd.data import aside, caption_history, crop, turning
from fsd.data.folder import Session
from fsd.data.history import REDO, UNDO, Entry, append, history_path, new_step, read_history
from fsd.data.lock import writing
from fsd.errors import SessionError


class Kind(NamedTuple):
    """How one kind of entry is undone. reversing: (session, entry, by, step) -> the entry of what undoes it.

    make: (session, that entry, the entry undone) does it, and nothing where it is done.
    """

    reversing: Callable[[Session, Entry, str, str], Entry]
    make: Callable[[Session, Entry, Entry], None]


KINDS = {
    "caption": Kind(caption_history.reversing, caption_history.make),
    "crop": Kind(crop.reversing, crop.make),
    "place": Kind(aside.reversing, aside.make),
    "turn": Kind(turning.reversing, turning.make),
}


@dataclass(frozen=True)
class Step:
    """One step in the journal. by: who did what it is about. start, end: where its lines are. things: how many there are."""

    name: str
    by: str
    start: int
    end: int
    things: int = 0


class History:
    """A session's steps, as far as they can be undone and redone; in memory is only where they lie."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._read = 0
        self._done: dict[str, Step] = {}
        self._undone: dict[str, Step] = {}

    @property
    def to_undo(self) -> Step | None:
        """The step that `undo` would undo."""
        self._catch_up()
        return next(reversed(self._done.values()), None)

    @property
    def to_redo(self) -> Step | None:
        """The step that `redo` would do again."""
        self._catch_up()
        return next(reversed(self._undone.values()), None)

    def undo(self) -> list[str]:
        """Undo the last step; the names of its photos, none when there is nothing to undo."""
        return self._revert(UNDO)

    def redo(self) -> list[str]:
        """Do again what was undone last, unless something else was done since."""
        return self._revert(REDO)

    def _revert(self, by: str) -> list[str]:
        with writing(self._session):
            step, name = self.to_undo if by == UNDO else self.to_redo, new_step()
            if step is None:
                return []
            lines = [entry for _, entry in read_history(self._session, step.start, step.end)]
            done = [entry for entry in reversed(lines) if entry.step == step.name and entry.what in KINDS]
            try:
                back = [KINDS[entry.what].reversing(self._session, entry, by, name) for entry in done]
                append(self._session, back)
                for entry, undone in zip(back, done, strict=True):
                    KINDS[entry.what].make(self._session, entry, undone)
            except (ValueError, TypeError, KeyError, AttributeError) as fault:
                path = history_path(self._session)
                raise SessionError(f"{path} is damaged: {fault!r}", "delete it: nothing else changes") from None
        return list(dict.fromkeys(entry.photo for entry in done))

    def _catch_up(self) -> None:
        """Take up what was written to the journal since, by whomever."""
        path = history_path(self._session)
        if self._read > (path.stat().st_size if path.is_file() else 0):  # it was taken away
            self._read, self._done, self._undone = 0, {}, {}
        for end, entry in read_history(self._session, self._read):
            self._take_up(entry, end)
            self._read = end

    def _take_up(self, entry: Entry, end: int) -> None:
        mine, other = (self._undone, self._done) if entry.by == UNDO else (self._done, self._undone)
        if known := mine.get(entry.step):
            mine[entry.step] = replace(known, end=end, things=known.things + 1)
            return
        of = other.pop(entry.of, None) if entry.of else None
        if not entry.of:
            self._undone.clear()
        mine[entry.step] = Step(entry.step, of.by if of else entry.by, self._read, end, 1)
