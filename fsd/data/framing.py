"""The square around faces: the largest with its head and shoulders, others with it where they fit, and none cut."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

from fsd.data.box import Box
from fsd.data.faces import Area

HEAD_SHARE = 8
"""A square is at most so many times as large as the heads in it: smaller heads train to nothing."""
NEARLY_ALL = 0.7
"""A square larger than this share of the photo's shorter side might as well take all of it."""
MINOR_FACE = 0.35
"""Faces narrower than this share of the largest are passers-by."""

Span = tuple[float, ...]
"""(low, high) along one axis, in pixels."""


def around_faces(faces: list[Area], size: tuple[int, int], resolution_px: int) -> Box:
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
