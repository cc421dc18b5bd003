"""The square of each photo that training sees: around faces, else around what stands out; or where the user says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from fsd.data.decode import Box, open_photo
from fsd.data.faces import Area, find_faces
from fsd.data.folder import Session
from fsd.data.lock import writing
from fsd.data.names import photo_files
from fsd.data.saliency import best_window, entropy_map, has_subject, saliency_map
from fsd.errors import SessionError
from fsd.runtime.files import write_json

if TYPE_CHECKING:
    from PIL import Image as Pil

MIN_SIDE_PX = 16
HEAD_SHARE = 8
"""A square is at most so many times as large as the heads in it: smaller heads train to nothing."""
NEARLY_ALL = 0.7
"""A square larger than this share of the photo's shorter side might as well take all of it."""
MINOR_FACE = 0.35
"""Faces narrower than this share of the largest are passers-by."""

Span = tuple[float, ...]
"""(low, high) along one axis, in pixels."""


@dataclass(frozen=True)
class Crop:
    """A photo's square. by: "face", "saliency", "entropy" or "hand". size: (width, height) of the photo in pixels."""

    box: Box
    by: str
    size: tuple[int, int]


def crop_photos(session: Session) -> dict[str, Crop]:
    """The square of every photo of the session, held-out ones too, by file name; missing ones are found and stored."""
    known = read_crops(session)
    paths = photo_files(session.instance_images) + photo_files(session.held_out_images)
    missing = [path for path in paths if path.name not in known]
    if missing:
        resolution_px = session.recipe().resolution_px
        found = {path.name: best_crop(open_photo(path), resolution_px) for path in missing}
        with writing(session):
            known = read_crops(session)
            known |= {name: crop for name, crop in found.items() if name not in known}
            _store(session, known)
    return {path.name: known[path.name] for path in paths}


def best_crop(photo: Pil.Image, resolution_px: int) -> Crop:
    """The square to train on, chosen by the photo alone: the same photo always gives the same box."""
    if faces := find_faces(photo):
        return Crop(_around_faces(faces, photo.size, resolution_px), "face", photo.size)
    by = "saliency" if has_subject(photo) else "entropy"
    weights = saliency_map(photo) if by == "saliency" else entropy_map(photo)
    side = min(photo.size)
    return Crop((*best_window(weights, *photo.size, side), side), by, photo.size)


def set_box(session: Session, name: str, left: int, top: int, side: int) -> Crop:
    """Fix the square of a photo by hand, in pixels of what `open_photo` gives; SessionError if it is no box."""
    paths = photo_files(session.instance_images) + photo_files(session.held_out_images)
    path = next((path for path in paths if path.name == name), None)
    if path is None:
        raise SessionError(
            f"there is no photo {name!r} in session {session.name!r}", "see the names on the contact sheet"
        )
    size = open_photo(path).size
    if fault := _box_fault((left, top, side), size):
        hint = f"left, top and side are whole pixels inside {size[0]} x {size[1]}, side at least {MIN_SIDE_PX}"
        raise SessionError(f"the box ({left}, {top}, {side}) of {name} {fault}", hint)
    crop = Crop((left, top, side), "hand", size)
    with writing(session):
        _store(session, read_crops(session) | {name: crop})
    return crop


def centre_box(size: tuple[int, int]) -> Box:
    """The largest square in the middle of a photo."""
    side = min(size)
    return (size[0] - side) // 2, (size[1] - side) // 2, side


def read_crops(session: Session) -> dict[str, Crop]:
    """What crops.json says, by file name; SessionError when it is damaged."""
    path = session.crops_path
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        crops = {name: _crop(item) for name, item in record.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SessionError(f"{path} is damaged: {error}", "delete it; the squares are found again") from None
    return crops


def _crop(item: dict[str, Any]) -> Crop:
    (left, top, side), (width, height) = item["box"], item["size"]
    if fault := _box_fault((left, top, side), (width, height)):
        raise ValueError(f"the box {item['box']} {fault}")
    return Crop((left, top, side), str(item["by"]), (width, height))


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


def _around_faces(faces: list[Area], size: tuple[int, int], resolution_px: int) -> Box:
    """The square that holds the largest face and every other one that fits with it, with room around."""
    most = min(size)
    widest = faces[0][2] - faces[0][0]
    subject, others = _clip(_head(faces[0]), size), []
    for face in faces[1:]:
        both = _union(subject, _clip(_head(face), size))
        if face[2] - face[0] >= MINOR_FACE * widest and max(both[2] - both[0], both[3] - both[1]) <= most:
            subject = both
        else:
            others.append(face)
    longest = max(subject[2] - subject[0], subject[3] - subject[1])
    side = round(max(HEAD_SHARE * widest, longest, resolution_px))
    side = most if side > most * NEARLY_ALL else side
    middle = (subject[1] + subject[3]) / 2
    wanted = ((subject[0] + subject[2] - side) / 2, middle - 0.42 * side)  # heads sit above the middle
    left = _placed(subject[0::2], wanted[0], side, size[0], [face[0::2] for face in others])
    beside = [face[1::2] for face in others if face[2] > left and face[0] < left + side]
    return left, _placed(subject[1::2], wanted[1], side, size[1], beside), side


def _head(face: Area) -> Area:
    """The face with hair, ears, neck and the beginning of the shoulders."""
    width, height = face[2] - face[0], face[3] - face[1]
    return face[0] - 0.4 * width, face[1] - 0.5 * height, face[2] + 0.4 * width, face[3] + 0.5 * height


def _placed(subject: Span, wanted: float, side: int, length: int, others: Sequence[Span]) -> int:
    """Where a side begins: it holds the subject where it can, and cuts as few other faces as it can, near to wanted."""
    low, high = subject[1] - side, subject[0]
    if low > high:
        low = high = (subject[0] + subject[1] - side) / 2
    low, high = (min(max(edge, 0), length - side) for edge in (low, high))
    edges = [edge for other in others for edge in (*other, other[0] - side, other[1] - side)]
    places = {min(max(round(place), ceil(low)), floor(high)) for place in (wanted, *edges)}

    def price(place: int) -> tuple[int, float, int]:
        cut = sum(a < edge < b for a, b in others for edge in (place, place + side))
        return cut, abs(place - wanted), place

    return min(max(min(places, key=price), 0), length - side)


def _clip(area: Area, size: tuple[int, int]) -> Area:
    return max(0.0, area[0]), max(0.0, area[1]), min(float(size[0]), area[2]), min(float(size[1]), area[3])


def _union(a: Area, b: Area) -> Area:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
