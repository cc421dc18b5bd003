"""The square of each photo that training sees: around faces, else around what stands out; or where the user says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsd.data.box import Box, rescaled
from fsd.data.concept import photos_of
from fsd.data.decode import read_photo
from fsd.data.faces import find_faces
from fsd.data.folder import Session
from fsd.data.framing import around_faces
from fsd.data.history import Entry, append, new_step
from fsd.data.lock import need_folder, writing
from fsd.data.saliency import best_window, entropy_map, has_subject, saliency_map
from fsd.errors import SessionError
from fsd.runtime.files import sha256, write_json

if TYPE_CHECKING:
    from PIL import Image as Pil

MIN_SIDE_PX = 16


@dataclass(frozen=True)
class Crop:
    """A photo's square. by: "face", "saliency", "entropy" or "hand". sha256: of the photo's bytes.

    box: (left, top, side) in pixels of the upright photo, whose (width, height) is `size`.
    """

    box: Box
    by: str
    size: tuple[int, int]
    sha256: str = ""


def crop_photos(session: Session) -> dict[str, Crop]:
    """The square of every photo of the session, held-out ones too, by file name; missing ones are found and stored.

    A square belongs to the bytes of its photo: for another photo of the same name it is found anew.
    """
    photos = _photos(session)
    known = _valid(session, photos)
    missing = [path for path in photos if path.name not in known]
    if missing:
        resolution_px = session.recipe().resolution_px
        found = {path.name: _found(path, resolution_px, photos[path]) for path in missing}
        with writing(session):
            known = found | _valid(session, photos)
            _store(session, known)
    return {path.name: known[path.name] for path in photos}


def best_crop(photo: Pil.Image, resolution_px: int) -> Crop:
    """The square to train on, chosen by the photo alone: the same photo always gives the same box."""
    if faces := find_faces(photo):
        return Crop(around_faces(faces, photo.size, resolution_px), "face", photo.size)
    by = "saliency" if has_subject(photo) else "entropy"
    weights = saliency_map(photo) if by == "saliency" else entropy_map(photo)
    side = min(photo.size)
    return Crop((*best_window(weights, *photo.size, side), side), by, photo.size)


def set_box(session: Session, name: str, left: int, top: int, side: int) -> Crop:
    """Fix the square of a photo by hand, in pixels of the upright photo; SessionError if it is no box. It can be undone."""
    need_folder(session.folder)
    path = next((path for path in _paths(session) if path.name == name), None)
    if path is None:
        raise SessionError(
            f"there is no photo {name!r} in session {session.name!r}", "see the names on the contact sheet"
        )
    size = read_photo(path).size
    if fault := _box_fault((left, top, side), size):
        hint = f"left, top and side are whole pixels inside {size[0]} x {size[1]}, side at least {MIN_SIDE_PX}"
        raise SessionError(f"the box ({left}, {top}, {side}) of {name} {fault}", hint)
    crop = Crop((left, top, side), "hand", size, sha256(path))
    with writing(session):
        append(session, [crop_entry(session, name, crop, "hand", new_step())])
        put_crop(session, name, crop)
    return crop


def crop_entry(session: Session, name: str, after: Crop | None, by: str, step: str, of: str = "") -> Entry:
    """The line of the journal for a photo's square that is about to be another one."""
    before = read_crops(session).get(name)
    return Entry(step, "crop", name, before and vars(before), after and vars(after), by, of=of)


def reversing(session: Session, done: Entry, by: str, step: str) -> Entry:
    """What makes a square again what it was before an entry."""
    return crop_entry(session, done.photo, crop_from(done.before) if done.before else None, by, step, done.step)


def make(session: Session, entry: Entry, undone: Entry) -> None:
    """Do what an entry of `reversing` says."""
    put_crop(session, entry.photo, crop_from(entry.after) if entry.after else None)


def put_crop(session: Session, name: str, crop: Crop | None) -> None:
    """Store the square of a photo, or forget it."""
    with writing(session):
        known = read_crops(session) | ({name: crop} if crop else {})
        _store(session, known if crop else {other: one for other, one in known.items() if other != name})


def crop_of(session: Session, path: Path) -> Crop | None:
    """The square that is stored of a photo as it is now; None when there is none."""
    crop = read_crops(session).get(path.name)
    return crop if crop and crop.sha256 == sha256(path) else None


def find_crop(session: Session, path: Path) -> Crop:
    """The square of one photo, found and stored where it is missing."""
    if crop := crop_of(session, path):
        return crop
    crop = _found(path, session.recipe().resolution_px, sha256(path))
    put_crop(session, path.name, crop)
    return crop


def read_crops(session: Session) -> dict[str, Crop]:
    """What crops.json says, by file name; SessionError when it is damaged."""
    path = session.crops_path
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        crops = {name: crop_from(item) for name, item in record.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SessionError(f"{path} is damaged: {error}", "delete it; the squares are found again") from None
    return crops


def crop_from(item: dict[str, Any]) -> Crop:
    """A square as it is stored; ValueError, TypeError or KeyError when it is none."""
    (left, top, side), (width, height) = item["box"], item["size"]
    if fault := _box_fault((left, top, side), (width, height)):
        raise ValueError(f"the box {item['box']} {fault}")
    return Crop((left, top, side), str(item["by"]), (width, height), str(item.get("sha256")))


def _paths(session: Session) -> list[Path]:
    return photos_of(session.instance_images) + photos_of(session.held_out_images)


def _photos(session: Session) -> dict[Path, str]:
    """The SHA-256 of every photo, held-out ones too."""
    return {path: sha256(path) for path in _paths(session)}


def _valid(session: Session, photos: dict[Path, str]) -> dict[str, Crop]:
    """What crops.json says of photos that are there, with the same bytes."""
    digests = {path.name: digest for path, digest in photos.items()}
    return {name: crop for name, crop in read_crops(session).items() if digests.get(name) == crop.sha256}


def _found(path: Path, resolution_px: int, digest: str) -> Crop:
    photo, _, size = read_photo(path)
    crop = best_crop(photo, resolution_px)
    return Crop(rescaled(crop.box, photo.size, size), crop.by, size, digest)


def _store(session: Session, crops: dict[str, Crop]) -> None:
    write_json(session.crops_path, {name: vars(crop) for name, crop in sorted(crops.items())})


def _box_fault(box: tuple[Any, Any, Any], size: tuple[int, int]) -> str:
    left, top, side = box
    if any(type(value) is not int for value in box):
        return "is not made of whole numbers"
    if side < min(MIN_SIDE_PX, *size):
        return "is too small"
    inside = left >= 0 and top >= 0 and left + side <= size[0] and top + side <= size[1]
    return "" if inside else "reaches outside the photo"
