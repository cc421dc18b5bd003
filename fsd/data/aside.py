"""Photos set aside: they move, with caption, mask and square, to where no stage reads them, and come back as they were."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterable
from pathlib import Path

from fsd.data.concept import photos_of
from fsd.data.crop import crop_entry, crop_from, put_crop, read_crops
from fsd.data.folder import Session
from fsd.data.history import Entry, append, inside, new_step, read_history
from fsd.data.lock import writing
from fsd.data.mask import mask_file
from fsd.data.names import photo_files
from fsd.data.prompt import caption_files
from fsd.errors import SessionError
from fsd.runtime.files import files_under, make_folder, sha256


def set_aside(session: Session, photos: Iterable[Path], by: str = "hand") -> list[Path]:
    """Where photos of the session lie now, below photos_aside/; one step."""
    step, lines, moved = new_step(), [], []
    with writing(session):
        for photo in photos:
            masks = filter(None, [mask_file(session, photo)])
            files = [path.relative_to(session.folder) for path in (photo, *caption_files(session, photo), *masks)]
            end = _free_end(session, files)
            ways = {file: _aside(session, file, end) for file in files}
            lines += [_way(session, step, photo.name, file, target, by) for file, target in ways.items()]
            if photo.name in read_crops(session):
                lines.append(crop_entry(session, photo.name, None, by, step))
            moved.append(next(iter(ways.values())))
        _do(session, lines)
    return moved


def bring_back(session: Session, photos: Iterable[Path], by: str = "hand") -> list[Path]:
    """Where photos that were set aside lie now: where they came from; one step. SessionError when their name is taken."""
    step, lines, moved = new_step(), [], []
    taken = {path.stem.casefold(): path for path in _photos(session)}
    with writing(session):
        for photo in photos:
            if there := taken.get(photo.stem.casefold()):
                fault = f"{photo.name} cannot come back: there is a photo {there.name} now"
                raise SessionError(fault, "set that one aside first, or rename one of them")
            inner = photo.relative_to(session.photos_aside)
            texts = [inner.with_suffix(".txt"), Path(session.captions.name, f"{inner.stem}.txt")]
            files = [inner, *dict.fromkeys(texts), Path(session.masks.name, f"{inner.stem}.png")]
            there_now = [file for file in files if (session.photos_aside / file).is_file()]
            lines += [_way(session, step, photo.name, session.photos_aside / file, session.folder / file, by)
                      for file in there_now]  # fmt: skip
            moved.append(session.folder / inner)
            taken[photo.stem.casefold()] = photo
            if crop := _last_crop(session, photo.name):
                lines.append(Entry(step, "crop", photo.name, None, crop, by))
        _do(session, lines)
    return moved


def photos_aside(session: Session) -> list[Path]:
    """The photos that were set aside, sorted by name."""
    tops = [session.photos_aside / part.name for part in (session.instance_images, session.held_out_images)]
    folders = [folder for top in tops if top.is_dir() for folder in (top, *filter(Path.is_dir, top.iterdir()))]
    return sorted((path for folder in folders for path in photo_files(folder)), key=lambda path: path.name)


class LeftBefore:
    """The bytes of photos that were set aside, and of those that were turned: not to be added once more.

    stems: of the photos that are in the session, without case.
    """

    def __init__(self, session: Session, stems: Container[str]) -> None:
        self._by_size: dict[int, list[tuple[Path, str]]] = {}
        aside = [(path, "it was set aside; edit_captions brings it back") for path in photos_aside(session)]
        kept = (path for path in files_under(session.originals) if session.masks.name not in path.parts)
        turned = ((path, path.stem.rpartition("-")[0]) for path in kept)
        there = [(path, f"it is there already, turned, as {stem}") for path, stem in turned if stem.casefold() in stems]
        for path, told in aside + there:
            self._by_size.setdefault(path.stat().st_size, []).append((path, told))

    def told(self, content: bytes) -> str:
        """Why a photo with these bytes is not added, "" where nothing speaks against it."""
        same = self._by_size.get(len(content), [])
        digest = hashlib.sha256(content).hexdigest() if same else ""
        return next((told for path, told in same if sha256(path) == digest), "")


def reversing(session: Session, done: Entry, by: str, step: str) -> Entry:
    """What moves a file back."""
    return Entry(step, "place", done.photo, done.after, done.before, by, of=done.step)


def make(session: Session, entry: Entry, undone: Entry) -> None:
    """Do what an entry of `reversing` says; nothing where the file is there already."""
    _move(inside(session, entry.before), inside(session, entry.after))


def _do(session: Session, lines: list[Entry]) -> None:
    append(session, lines)
    for entry in lines:
        if entry.what == "place":
            make(session, entry, entry)
        else:
            put_crop(session, entry.photo, crop_from(entry.after) if entry.after else None)


def _move(source: Path, target: Path) -> None:
    if not source.is_file():
        if target.is_file():
            return
        raise SessionError(f"{source.name} is no longer in {source.parent}", "add it again")
    if target.exists():
        hint = "rename one of them, then try again"
        raise SessionError(f"{source.name} cannot move to {target}: there is a file of that name", hint)
    make_folder(target.parent)
    os.replace(source, target)


def _way(session: Session, step: str, photo: str, source: Path, target: Path, by: str) -> Entry:
    before, after = ((session.folder / path).relative_to(session.folder).as_posix() for path in (source, target))
    return Entry(step, "place", photo, before, after, by)


def _aside(session: Session, file: Path, end: str) -> Path:
    return session.photos_aside / file.with_name(f"{file.stem}{end}{file.suffix}")


def _free_end(session: Session, files: list[Path]) -> str:
    """What the names end with so that nothing that was set aside before has them: "", " (2)", ..."""
    ends = ["", *(f" ({number})" for number in range(2, 10_000))]
    return next(end for end in ends if not any(_aside(session, file, end).exists() for file in files))


def _photos(session: Session) -> list[Path]:
    return photos_of(session.instance_images) + photos_of(session.held_out_images)


def _last_crop(session: Session, photo: str) -> dict[str, object] | None:
    """The square that a photo had when it was set aside last."""
    found = None
    for _, entry in read_history(session):
        if entry.what == "crop" and entry.photo == photo:
            found = entry.after or entry.before
    return found
