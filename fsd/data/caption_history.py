"""Captions are changed: what was there is kept in the session's journal first, to the byte."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

from fsd.data.folder import Session
from fsd.data.history import Entry, append, inside, new_step
from fsd.data.lock import writing
from fsd.data.prompt import caption_files, caption_path, read_caption
from fsd.errors import SessionError
from fsd.runtime.files import write_bytes

MAX_KEPT_BYTES = 1_000_000
"""A larger file is no caption, and stays as it is."""


def change_caption(session: Session, photo: Path, text: str, by: str, step: str = "") -> None:
    """Give a photo of the session this caption; "" takes its file away, and the photo follows the template.

    by: who changes it: "hand", "blip2", "replace", ... step: several changes of one step are undone together (default:
    this one alone). A caption that says so already is left alone, to the byte. SessionError when the text is too long.
    """
    change_captions(session, [(photo, text)], by, step)


def change_captions(session: Session, changes: Iterable[tuple[Path, str]], by: str, step: str = "") -> list[str]:
    """The names of the photos whose captions are others now, all in one step; see `change_caption`."""
    step = step or new_step()
    with writing(session):
        entries = [entry for photo, text in changes for entry in _entries(session, photo, text, by, step)]
        append(session, entries)
        for entry in entries:
            _put(session.folder / entry.file, entry.after)
    return list(dict.fromkeys(entry.photo for entry in entries))


def reversing(session: Session, done: Entry, by: str, step: str) -> Entry:
    """What makes a caption file again what it was before an entry; what is there meanwhile is told by it, too."""
    return _entry(session, inside(session, done.file), done.photo, done.before, by, step, done.step)


def make(session: Session, entry: Entry, undone: Entry) -> None:
    """Do what an entry of `reversing` says; the bytes are those that the undone one kept."""
    _put(inside(session, entry.file), entry.after, undone.kept)


def checked(text: str, photo: Path) -> str:
    """A caption as it is kept: one line, without control characters; SessionError when it is too long."""
    return read_caption(text.encode("utf-8", "replace"), f"the caption of {photo.name}")[0]


def _entries(session: Session, photo: Path, text: str, by: str, step: str) -> list[Entry]:
    """What is to be done for a photo to have a caption: nothing, one file written, or every file of its taken away."""
    wanted, there = checked(text, photo), caption_files(session, photo)
    if not wanted:
        return [_entry(session, path, photo.name, None, by, step) for path in there]
    path = there[0] if there else caption_path(session, photo.name)
    entry = _entry(session, path, photo.name, wanted, by, step)
    return [] if entry.before == wanted else [entry]


def _entry(session: Session, path: Path, photo: str, after: str | None, by: str, step: str, of: str = "") -> Entry:
    before, kept = _there(path)
    return Entry(step, "caption", photo, before, after, by, path.relative_to(session.folder).as_posix(), kept, of)


def _there(path: Path) -> tuple[str | None, str | None]:
    """(the text, the bytes in base64 unless the text says them) of a caption file; (None, None) when there is none."""
    if not path.is_file():
        return None, None
    if path.stat().st_size > MAX_KEPT_BYTES:
        fault = f"{path.name} has {path.stat().st_size} bytes: not a caption, and too large to be kept in the history"
        raise SessionError(fault, f"move it out of {path.parent}")
    content = path.read_bytes()
    try:
        text = read_caption(content, path.name)[0]
    except SessionError:  # too long to be a caption: its bytes are kept
        text = ""
    return text, None if content == f"{text}\n".encode() else base64.b64encode(content).decode()


def _put(path: Path, text: str | None, kept: str | None = None) -> None:
    """Write a caption file whole or not at all; None takes it away. kept: its very bytes, in base64."""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_bytes(path, base64.b64decode(kept) if kept is not None else f"{text}\n".encode())
