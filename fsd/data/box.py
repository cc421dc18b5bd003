"""Squares in photos: at another size, and in the middle."""

from __future__ import annotations

Box = tuple[int, int, int]
"""(left, top, side) of a square in pixels of a photo."""
Area = tuple[int, int, int, int]
"""(left, top, width, height) of a part of a photo, in its pixels."""


def rescaled(box: Box, size: tuple[int, int], new_size: tuple[int, int]) -> Box:
    """The same square in the photo at another size, moved and cut to fit by the pixel that rounding may add."""
    scale = max(new_size) / max(size)
    side = max(1, min(round(box[2] * scale), *new_size))
    left, top = (min(round(at * scale), length - side) for at, length in zip(box[:2], new_size, strict=True))
    return left, top, side


def centre_box(size: tuple[int, int]) -> Box:
    """The largest square in the middle of a photo."""
    side = min(size)
    return (size[0] - side) // 2, (size[1] - side) // 2, side
