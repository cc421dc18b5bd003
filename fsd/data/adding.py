"""One call of `add_photos`: each photo decoded, compared with those there, staged, and at last put in its place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fsd.data.add_report import AddReport, same_as
from fsd.data.aside import LeftBefore
from fsd.data.concept import photos_of
from fsd.data.copying import moved
from fsd.data.decode import decode, open_photo
from fsd.data.folder import Session
from fsd.data.looks import look, pairs_alike
from fsd.data.names import has_control
from fsd.data.prompt import caption_file, caption_path, read_caption
from fsd.data.sources import MAX_PHOTO_BYTES, Entry, caption_of, captions_for, has_photo_suffix
from fsd.errors import SessionError
from fsd.runtime.files import sha256, sync
from fsd.runtime.space import Need, need_room

MAX_NAME_BYTES = 200
_SUFFIXES = {"MPO": ".jpg", "JPEG": ".jpg", "TIFF": ".tif", "HEIF": ".heic", "DIB": ".bmp"}


class Adding:
    """One `add_photos` under way: what is there already, and what was taken into the stage folder.

    concept: the folder that all new photos go into; "" keeps those of the source. places: where each photo lies or will lie
    as an instance image, by name.
    """

    def __init__(self, session: Session, stage: Path, concept: str = "") -> None:
        self.session, self.stage, self.concept, self.report = session, stage, concept, AddReport()
        self.resolution_px = session.recipe().resolution_px
        self.there = photos_of(session.instance_images) + photos_of(session.held_out_images)
        self.places = {path.name: path for path in self.there}
        self.taken = {path.stem.casefold() for path in (*self.there, *session.captions.glob("*.txt"))}
        self.left = LeftBefore(session, self.taken)
        self.by_size: dict[int, list[Path]] = {}
        for path in self.there:
            self.by_size.setdefault(path.stat().st_size, []).append(path)
        self.looks: dict[str, int] = {}
        self.texts: dict[str, str] = {}

    def take_all(self, entries: list[Entry]) -> None:
        """Check every entry, copy the photos into the stage folder and list the others with their reasons."""
        new = [entry.size_bytes for entry in entries if entry.size_bytes not in self.by_size]
        need_room([Need("the photos", self.stage, sum(new))])
        captions = captions_for(entries)
        used = set()
        for entry in entries:
            if entry.is_caption:
                continue
            caption = caption_of(entry, captions)
            used.add(id(caption))
            try:
                self._take(entry, caption)
            except SessionError as refusal:
                reason = refusal.message.removeprefix(f"{entry.name}: ")
                self.report.skipped.append((entry.name, reason))
        for caption in captions.values():
            if id(caption) not in used:
                self.report.skipped.append((caption.name, "a text without a photo of its name"))
        self._find_near_duplicates()

    def _take(self, entry: Entry, caption: Entry | None) -> None:
        if fault := entry.fault or _fault(entry):
            raise SessionError(fault)
        content = entry.read()
        folder = self.concept or entry.concept
        if same := self._same_bytes(content):
            self._caption(same, caption)
            raise SessionError(same_as(same) + self._elsewhere(same, folder))
        if told := self.left.told(content):
            raise SessionError(told)
        photo, kind, _ = decode(content, entry.name)
        name = self._free_name(entry.name, kind)
        path = self.stage / name
        path.write_bytes(content)
        self.taken.add(Path(name).stem.casefold())
        self.by_size.setdefault(len(content), []).append(path)
        self.report.added.append(name)
        self.places[name] = self.session.instance_images / folder / name
        if folder:
            self.report.concepts[folder] = self.report.concepts.get(folder, 0) + 1
        self.looks[name] = look(photo)
        self._caption(name, caption)
        if min(photo.size) < self.resolution_px:
            size = f"{photo.width} x {photo.height} px"
            self.report.warnings.append(f"{name} is {size}, smaller than the {self.resolution_px} px of training")

    def _same_bytes(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        return next((path.name for path in self.by_size.get(len(content), []) if sha256(path) == digest), "")

    def _elsewhere(self, name: str, folder: str) -> str:
        """What to do about a photo that is there, but not in the concept's folder that it was to go into."""
        here = self.places[name].parent.name
        return f", in {here}: move that file to have it in {folder}" if folder not in ("", here) else ""

    def _free_name(self, name: str, kind: str) -> str:
        if not has_photo_suffix(name):
            name = f"{name}{_SUFFIXES.get(kind, '.' + kind.lower())}"
            self.report.warnings.append(f"{Path(name).stem} was named {name}, for it is a photo")
        stem, suffix, number = Path(name).stem, Path(name).suffix, 2
        free = stem
        while free.casefold() in self.taken:  # a stem of its own, for it names the caption too
            free, number = f"{stem} ({number})", number + 1
        if free != stem:
            self.report.warnings.append(f"{name} was named {free}{suffix}, for {stem} is taken")
        return free + suffix

    def _caption(self, name: str, caption: Entry | None) -> None:
        if caption is None:
            return
        try:
            text, notes = read_caption(caption.read(), caption.name)
        except SessionError as refusal:
            self.report.skipped.append((caption.name, refusal.message))
            return
        self.report.warnings.extend(notes)
        there, file = self.texts.get(name), caption_file(self.session, self.places[name])
        if there is None and file:
            there = read_caption(file.read_bytes(), file.name)[0]
        if there is None and text:
            self.texts[name] = text
        elif there is not None and there != text:
            self.report.warnings.append(f"{name} keeps the caption it has; {caption.name} says something else")

    def _find_near_duplicates(self) -> None:
        new = set(self.looks)
        for path in self.there if new else []:
            try:
                self.looks[path.name] = look(open_photo(path, max_side_px=256))
            except SessionError as refusal:
                self.report.warnings.append(f"already in the session, but {refusal.message}")
        self.report.near_duplicates.extend(pairs_alike(self.looks, new))
        self.report.warnings.extend(f"{a} and {b} look the same; keep one" for a, b in self.report.near_duplicates)

    def place(self, held_out: list[str]) -> None:
        """Move what was taken to its place, photos before captions: all of it or, on an error, nothing."""
        places, (training, held) = self.places, (self.session.instance_images, self.session.held_out_images)
        kept = {name: held / places[name].relative_to(training) for name in held_out}
        moves = [(self.stage / name, kept.get(name, places[name])) for name in self.report.added]
        moves += [(places[name], kept[name]) for name in held_out if name not in self.report.added]
        for folder in (training, held, self.session.captions, *{target.parent for _, target in moves}):
            folder.mkdir(exist_ok=True)
        for name, text in self.texts.items():
            target = caption_path(self.session, name)
            staged = self.stage / target.name
            staged.write_text(text + "\n", encoding="utf-8")
            moves.append((staged, target))
        for staged, _ in moves:
            sync(staged)
        moved(moves)
        self.report.captions.extend(self.texts)
        self.report.held_out.extend(held_out)


def _fault(entry: Entry) -> str:
    if entry.size_bytes > MAX_PHOTO_BYTES:
        return f"has {entry.size_bytes >> 20} MiB; {MAX_PHOTO_BYTES >> 20} MiB is the most for a photo"
    if not entry.name.strip(". ") or has_control(entry.name) or "\\" in entry.name:
        return "its name has a backslash or control characters; rename it"
    if len(entry.name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        return "its name is too long; rename it"
    return "its name begins with a dot; rename it" if entry.name.startswith(".") else ""
