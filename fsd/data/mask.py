"""What of a photo is the subject: a mask that the user drew, else one that is found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsd.data.decode import open_photo
from fsd.data.faces import find_faces
from fsd.data.folder import Session
from fsd.data.saliency import has_subject, saliency_map

if TYPE_CHECKING:
    from PIL import Image as Pil

_WORK_PX = 256
_ROUNDS = 5
_SURE_SHARE = 0.2
"""Of the saliency map's places, those that begin as the subject."""
_BORDER = 0.03
_PIECE_SHARE = 0.1
_LEAST, _MOST = 0.02, 0.95
"""Shares of a photo that a subject found has at least and at most; what is beyond is a mistake."""


def mask_file(session: Session, photo: Path) -> Path | None:
    """The mask that the user drew of a photo, masks/STEM.png: white is the subject; None without one."""
    path = session.masks / f"{photo.stem}.png"
    return path if path.is_file() else None


def subject_mask(photo: Pil.Image) -> Pil.Image:
    """8-bit, of the photo's size: white is the subject, all of it where none stands out.

    GrabCut (Rother et al. 2004, as OpenCV has it) from faces with what is under them, else from where the eye goes, and
    the convex hull of that, a little wider: parts of a subject may look like what is behind it. The same photo always
    gives the same mask.
    """
    import cv2
    import numpy as np
    from PIL import Image

    scale = _WORK_PX / max(photo.size)
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    whole = Image.new("L", photo.size, 255)
    if min(size) < 16 or not has_subject(photo):
        return whole
    labels = _first_labels(photo, size)
    small = np.ascontiguousarray(np.asarray(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS))[:, :, ::-1])
    cv2.setRNGSeed(0)
    cv2.grabCut(small, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = _hull(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)))
    if not _LEAST < found.mean() / 255 < _MOST:
        return whole
    return Image.fromarray(found).resize(photo.size, Image.Resampling.BILINEAR)


def read_mask(path: Path, size: tuple[int, int]) -> Pil.Image:
    """A drawn mask, 8-bit, in a photo's size; SessionError when it cannot be read."""
    from PIL import Image

    drawn = open_photo(path)
    return drawn.convert("L").resize(size, Image.Resampling.BILINEAR)


def _hull(found):  # type: ignore[no-untyped-def]
    """White (uint8) in the convex hull of the larger pieces of a mask, and a little around it."""
    import cv2
    import numpy as np

    count, pieces, facts, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8))
    large = [piece for piece in range(1, count) if facts[piece, cv2.CC_STAT_AREA] > _PIECE_SHARE * found.sum()]
    hull = np.zeros(found.shape, np.uint8)
    if large:
        rows, columns = np.nonzero(np.isin(pieces, large))
        cv2.fillConvexPoly(hull, cv2.convexHull(np.stack([columns, rows], 1).astype(np.int32)), 255)
    wider_px = 1 + 2 * round(_BORDER * max(found.shape) / 2)
    return cv2.dilate(hull, np.ones((wider_px, wider_px), np.uint8))


def _first_labels(photo: Pil.Image, size: tuple[int, int]):  # type: ignore[no-untyped-def]
    """GrabCut's labels to begin with, (height, width) uint8."""
    import cv2
    import numpy as np

    width, height = size
    labels = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    if faces := find_faces(photo):
        for face in faces:
            left, top, wide, high = (round(value * width / photo.width) for value in face)
            labels[max(0, top - high // 2) :, max(0, left - wide) : left + 2 * wide] = cv2.GC_PR_FGD
            labels[top : top + high, left : left + wide] = cv2.GC_FGD
    else:
        weights = cv2.resize(saliency_map(photo), size)
        labels[weights >= np.quantile(weights, 1 - _SURE_SHARE)] = cv2.GC_PR_FGD
        edge_x, edge_y = max(1, round(_BORDER * width)), max(1, round(_BORDER * height))
        labels[:edge_y], labels[-edge_y:], labels[:, :edge_x], labels[:, -edge_x:] = (cv2.GC_BGD,) * 4
    return labels
