"""What BLIP-2 is asked to write for a session's photos, and how its words become captions. The model is in `fsd.captioner`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsd.data.box import Box, rescaled
from fsd.data.concept import photos_of
from fsd.data.crop import read_crops
from fsd.data.decode import open_photo, opened_size, square
from fsd.data.folder import Session
from fsd.data.generation import GENERATION
from fsd.data.history import read_history
from fsd.data.prompt import caption_file, prompt_of
from fsd.data.wording import Wording
from fsd.errors import FsdError

if TYPE_CHECKING:
    from PIL.Image import Image

BY = "blip2"
"""Who changes captions, in the session's history."""
_SEEN_PX = 512
_RUN = "captioning.jsonl"


@dataclass(frozen=True)
class CaptionRequest:
    """What to write. folder: the captioner's. taught: the checkpoint with what it learned, or "". again: also photos that
    have captions. quantize: "none", "int8" or "nf4". batch_size: 0 finds it.
    """

    folder: str
    taught: str = ""
    wording: Wording = field(default_factory=Wording)
    generation: dict[str, Any] = field(default_factory=lambda: dict(GENERATION))
    again: bool = False
    quantize: str = "none"
    batch_size: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> CaptionRequest:
        record = json.loads(text)
        words = record.pop("wording")
        return CaptionRequest(**record, wording=Wording(**words))

    def key(self) -> str:
        """Tells a run from others: one of the same key goes on where it was cut short, also on another machine."""
        said = [Path(self.folder).name, self.taught.rpartition("/")[2], asdict(self.wording), self.generation]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


class Run:
    """Which photos a run has still to do. One that writes every caption anew notes what it has done until it is whole."""

    def __init__(self, session: Session, request: CaptionRequest) -> None:
        self._path, self._noted = session.logs / _RUN, request.again
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        done = set(lines[1:]) if lines[:1] == [request.key()] else set()
        if self._noted and not done:
            self._path.parent.mkdir(exist_ok=True)
            self._path.write_text(f"{request.key()}\n", encoding="utf-8")
        photos = photos_of(session.instance_images)
        self.before = len(done) if self._noted else 0
        self.todo = [path for path in photos if path.name not in done] if self._noted else uncaptioned(session, photos)

    def did(self, names: Iterable[str]) -> None:
        """Note photos as done."""
        if self._noted:
            with self._path.open("a", encoding="utf-8") as stream:  # a line that a kill cuts short is no photo's name
                stream.write("\n" + "".join(f"{name}\n" for name in names))

    def end(self) -> None:
        """Every photo is done."""
        if self._noted:
            self._path.unlink(missing_ok=True)


def uncaptioned(session: Session, photos: Iterable[Path]) -> list[Path]:
    """The photos without a caption: no file, or an empty one. One that cannot be read as a caption is left to its owner."""
    return [path for path in photos if not _said(session, path)]


def captioned(session: Session) -> list[tuple[Path, str]]:
    """The photos that have a caption, with it as training reads it; SessionError when one is no text."""
    recipe = session.recipe()
    prompts = [(path, prompt_of(session, path, recipe)) for path in photos_of(session.instance_images)]
    return [(path, prompt.text) for path, prompt in prompts if prompt.source == "caption"]


def corrected(session: Session, pairs: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Those of the photos and captions that somebody wrote or changed; all where a captioner wrote all of them."""
    last = {entry.photo: entry.by for _, entry in read_history(session) if entry.what == "caption"}
    return [(path, text) for path, text in pairs if last.get(path.name) != BY] or pairs


def _said(session: Session, photo: Path) -> bool:
    there = caption_file(session, photo)
    return bool(there and there.read_bytes().strip())


def look_at(path: Path) -> Image:
    """A picture as a captioner sees it, all of it; SessionError when it cannot be opened."""
    return _small(open_photo(path))


def _small(photo: Image) -> Image:
    photo.thumbnail((_SEEN_PX, _SEEN_PX))
    return photo


class Looking:
    """Photos as a captioner sees them: the square that training sees. skipped: why others could not be opened, by name."""

    def __init__(self, session: Session) -> None:
        self.session, self._crops = session, read_crops(session)
        self.skipped: dict[str, str] = {}

    def at(self, path: Path) -> tuple[Path, Image | None]:
        """The photo, or None and a reason among the skipped."""
        try:
            photo = open_photo(path)
        except FsdError as fault:
            self.skipped[path.name] = fault.message
            return path, None
        if box := self.box(path):
            return path, square(photo, box, _SEEN_PX)
        return path, _small(photo)

    def box(self, path: Path) -> Box | None:
        """The photo's square, in pixels of `open_photo`; None where none was chosen: then all of it is seen."""
        crop = self._crops.get(path.name)
        return rescaled(crop.box, crop.size, opened_size(crop.size)) if crop else None

    def seen(self, looked: Iterable[tuple[Path, Image | None]]) -> Iterator[tuple[Path, Image]]:
        """Those that could be opened."""
        return ((path, photo) for path, photo in looked if photo is not None)
