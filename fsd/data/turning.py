"""Photos are turned by quarters without loss: what training sees is the same pixels, and the photo as it was is kept.

A JPEG is not decoded: the orientation in its EXIF changes, as cameras say it (EXIF 2.32, tag 0x0112). Every other photo becomes
a PNG. Mask and square turn too. What a file was before lies in originals/, by its SHA-256, so that an undo gives its very bytes.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsd.data.crop import Crop, crop_entry, crop_of, put_crop
from fsd.data.decode import MAX_HEADER_PIXELS, decode
from fsd.data.folder import Session
from fsd.data.history import Entry, append, inside, new_step
from fsd.data.jpeg import turned_jpeg
from fsd.data.lock import writing
from fsd.data.mask import mask_file
from fsd.errors import SessionError
from fsd.runtime.files import make_folder, sha256, write_bytes

if TYPE_CHECKING:
    from PIL import Image as Pil


def turn_photo(session: Session, photo: Path, quarters: int = 1, by: str = "hand") -> Path:
    """Where a photo of the session lies, turned clockwise by so many quarters: under its name, or as STEM.png.

    SessionError when it cannot be read, or STEM.png is another photo.
    """
    if quarters % 4 == 0:
        return photo
    with writing(session):
        step, mask = new_step(), mask_file(session, photo)
        target, content = _turned(photo, quarters)
        work = [(photo, target, content), *([(mask, *_turned(mask, quarters))] if mask else [])]
        lines = [_entry(session, photo.name, source, aim, new, by, step) for source, aim, new in work]
        crop = _turned_crop(crop_of(session, photo), quarters, lines[0].after["sha256"])
        crops = {photo.name: None, target.name: crop} if crop else {}
        append(session, [*lines, *(crop_entry(session, name, one, by, step) for name, one in crops.items())])
        for source, aim, new in work:
            _keep(session, source)
            write_bytes(aim, new)
            if source != aim:
                source.unlink()
        for name, one in crops.items():
            put_crop(session, name, one)
    return target


def reversing(session: Session, done: Entry, by: str, step: str) -> Entry:
    """What makes a file again what it was before an entry."""
    return Entry(step, "turn", done.photo, done.after, done.before, by, of=done.step)


def make(session: Session, entry: Entry, undone: Entry) -> None:
    """Do what an entry of `reversing` says; nothing where the file is so already."""
    now, target = (inside(session, side["file"]) for side in (entry.before, entry.after))
    kept = _kept(session, target, entry.after["sha256"])
    if target.is_file() and sha256(target) == entry.after["sha256"]:
        return
    if not kept.is_file():
        fault = f"{target.name} as it was is no longer in {session.originals}"
        raise SessionError(fault, "it stays as it is; turn it by hand")
    if now.is_file():
        _keep(session, now)
    write_bytes(target, kept.read_bytes())
    if now != target:
        now.unlink(missing_ok=True)


def turned(photo: Pil.Image, quarters: int) -> Pil.Image:
    """A picture turned clockwise."""
    from PIL import Image

    ways = Image.Transpose
    way = {1: ways.ROTATE_270, 2: ways.ROTATE_180, 3: ways.ROTATE_90}.get(quarters % 4)
    return photo if way is None else photo.transpose(way)


def _turned(path: Path, quarters: int) -> tuple[Path, bytes]:
    """(where it goes, its bytes) of a photo that is turned."""
    content = path.read_bytes()
    if new := turned_jpeg(content, quarters):
        return path, new
    target = path.with_suffix(".png") if path.suffix.lower() != ".png" else path
    if target != path and target.exists():
        raise SessionError(f"{path.name} turned is {target.name}, which is another photo", "rename one of them first")
    stream = BytesIO()
    whole = decode(content, path.name, max_side_px=MAX_HEADER_PIXELS).photo
    turned(whole, quarters).save(stream, format="PNG", compress_level=4)
    return target, stream.getvalue()


def _turned_crop(crop: Crop | None, quarters: int, digest: str) -> Crop | None:
    """The same square of the turned photo."""
    if crop is None:
        return None
    (left, top, side), (width, height) = crop.box, crop.size
    for _ in range(quarters % 4):
        left, top, width, height = height - top - side, left, height, width
    return Crop((left, top, side), crop.by, (width, height), digest)


def _entry(session: Session, photo: str, source: Path, target: Path, content: bytes, by: str, step: str) -> Entry:
    digests: list[tuple[Path, Any]] = [(source, sha256(source)), (target, hashlib.sha256(content).hexdigest())]
    before, after = (
        {"file": path.relative_to(session.folder).as_posix(), "sha256": digest} for path, digest in digests
    )
    return Entry(step, "turn", photo, before, after, by)


def _keep(session: Session, path: Path) -> None:
    """Copy a file to where its bytes are kept."""
    kept = _kept(session, path, sha256(path))
    if not kept.is_file():
        make_folder(kept.parent)
        write_bytes(kept, path.read_bytes())


def _kept(session: Session, path: Path, digest: str) -> Path:
    return session.originals / path.parent.name / f"{path.stem}-{digest[:16]}{path.suffix}"
