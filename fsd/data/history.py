"""What was done to a session's captions and photos, line by line in history.jsonl: nothing in it is ever changed.

A line is on the disk before what it tells of is done. So whatever dies in the middle, what was there before is known, and
a step can be undone: undoing makes each thing what it was, done or not. An undone step is a step too, which undone is redone.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsd.data.folder import Session
from fsd.errors import SessionError

UNDO, REDO = "undo", "redo"


@dataclass(frozen=True)
class Entry:
    """One thing that was done. step: those of one step are undone together. what: "caption" or what else is in `undoing`.

    photo: its file name. before, after: what was there, and then; None for nothing. by: "hand", "blip2", "replace", ...
    file: what was written, from the session's folder. kept: bytes that `before` does not say, in base64. of: the step that
    this one undoes. time: in UTC.
    """

    step: str
    what: str
    photo: str
    before: Any
    after: Any
    by: str
    file: str = ""
    kept: str | None = None
    of: str = ""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))


def new_step() -> str:
    """A name for a step that is like no other's."""
    return uuid.uuid4().hex[:12]


def history_path(session: Session) -> Path:
    """The journal."""
    return session.folder / "history.jsonl"


def inside(session: Session, file: str) -> Path:
    """A file that the journal names, which may have come from a stranger; SessionError when it is not the session's."""
    path = session.folder / file
    if not file or not path.resolve().is_relative_to(session.folder.resolve()):
        told = f"{history_path(session)} names {file!r}, which is not in the session"
        raise SessionError(told, "delete the journal; captions and photos stay as they are")
    return path


def append(session: Session, entries: Iterable[Entry]) -> None:
    """Write down what is about to be done, and return once it is on the disk; OSError when it is not."""
    lines = "".join(json.dumps(_shortened(entry), ensure_ascii=False) + "\n" for entry in entries)
    if not lines:
        return
    with history_path(session).open("ab+") as stream:
        if stream.tell() and (stream.seek(-1, os.SEEK_END), stream.read(1))[1] != b"\n":
            stream.write(b"\n")  # after a line that a kill cut short
        stream.write(lines.encode("utf-8", "replace"))
        stream.flush()
        os.fsync(stream.fileno())


def read_history(session: Session, start: int = 0, end: int | None = None) -> Iterator[tuple[int, Entry]]:
    """(where its line ends, the entry) for each whole line between two places of the journal; a damaged line is passed over."""
    path = history_path(session)
    if not path.is_file():
        return
    with path.open("rb") as stream:
        stream.seek(start)
        for line in stream:
            start += len(line)
            if not line.endswith(b"\n") or (end is not None and start > end):
                return
            if entry := _entry(line):
                yield start, entry


def _shortened(entry: Entry) -> dict[str, Any]:
    """An entry as JSON, without what is not said of it."""
    never = {"kept": None, "file": "", "of": ""}
    return {name: value for name, value in asdict(entry).items() if name not in never or value != never[name]}


def _entry(line: bytes) -> Entry | None:
    try:
        record = json.loads(line)
        known = {one.name for one in fields(Entry)}
        return Entry(**{name: value for name, value in record.items() if name in known})
    except (ValueError, TypeError, AttributeError):
        return None
