"""Faces by YuNet, the small detector that the package carries (OpenCV Zoo, MIT; Wu et al. 2023, "YuNet")."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsd.errors import missing_package

if TYPE_CHECKING:
    from PIL import Image as Pil

MODEL = Path(__file__).parent / "models" / "face_detection_yunet_2023mar.onnx"
SCORE, OVERLAP = 0.75, 0.3
LONGEST_SIDES_PX = (640, 320, 1280)
"""Sizes tried until one shows a face: YuNet finds faces of about 10 to 300 px."""

Area = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""


def find_faces(photo: Pil.Image) -> list[Area]:
    """The faces in an RGB photo, clipped to it, largest first."""
    most_px = max(LONGEST_SIDES_PX[0], 2 * max(photo.size))
    for longest_px in LONGEST_SIDES_PX:
        if longest_px <= most_px and (found := _find(photo, longest_px)):
            return found
    return []


def _find(photo: Pil.Image, longest_px: int) -> list[Area]:
    import numpy as np

    scale = longest_px / max(photo.size)
    width, height = (max(1, round(side * scale)) for side in photo.size)
    small = photo.resize((width, height), reducing_gap=2.0)
    detector = _detector()
    detector.setInputSize((width, height))
    rows = detector.detect(np.ascontiguousarray(np.asarray(small)[:, :, ::-1]))[1]
    faces = [] if rows is None else [_clipped(row, scale, photo.size) for row in rows]
    return sorted((face for face in faces if face[2] > face[0] and face[3] > face[1]), key=lambda f: (-_size(f), f))


def _clipped(row: Any, scale: float, size: tuple[int, int]) -> Area:
    left, top, width, height = (float(value) / scale for value in row[:4])
    right, bottom = min(left + width, size[0]), min(top + height, size[1])
    return max(0.0, left), max(0.0, top), right, bottom


def _size(face: Area) -> float:
    return (face[2] - face[0]) * (face[3] - face[1])


@lru_cache(maxsize=1)
def _detector() -> Any:
    try:
        import cv2
    except ModuleNotFoundError as fault:
        raise missing_package(fault) from None
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns about a backend nobody asked for
    try:
        return cv2.FaceDetectorYN.create(str(MODEL), "", (320, 320), SCORE, OVERLAP)
    finally:
        cv2.utils.logging.setLogLevel(level)
