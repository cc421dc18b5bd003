"""Sizes of pictures as the form shows them, "512 × 768": offered, read, and fitted to a picture."""

from __future__ import annotations

import re

from fsd.errors import RecipeError
from fsd.job import LARGEST_PX

SHAPES = ((1, 1), (3, 4), (4, 3), (2, 3), (3, 2), (9, 16), (16, 9))
"""Sides of the sizes that are offered, width to height."""


def sizes(own_px: int) -> tuple[str, ...]:
    """Sizes of about own_px x own_px in several shapes, as texts; the first is square."""
    step = _step(own_px)
    found = []
    for width, height in SHAPES:
        scale = own_px / (width * height) ** 0.5
        found.append(size_text(*(_rounded(side * scale, step) for side in (width, height))))
    return tuple(dict.fromkeys(found))


def size_like(width_px: int, height_px: int, own: str) -> str:
    """A size of the shape of a picture and about the area of the size `own`, as text."""
    wide, high = size_px(own)
    scale, step = (wide * high / (width_px * height_px)) ** 0.5, _step(max(wide, high))
    return size_text(_rounded(width_px * scale, step), _rounded(height_px * scale, step))


def size_text(width_px: int, height_px: int) -> str:
    """A size as the form shows it."""
    return f"{width_px} × {height_px}"


def size_px(text: str) -> tuple[int, int]:
    """Width and height of a size such as "512 × 768"; RecipeError for anything else."""
    if match := re.fullmatch(r"\s*(\d{1,9})\s*[x×X*, ]\s*(\d{1,9})\s*", text or ""):
        return int(match[1]), int(match[2])
    raise RecipeError(f"the size is {text!r}", "give it as WIDTH x HEIGHT, such as 512 x 768")


def _step(px: int) -> int:
    """What sides are multiples of: what every family can do, finer for small pictures."""
    return 64 if px >= 512 else 16 if px >= 256 else 8


def _rounded(side: float, step: int) -> int:
    return min(max(64, round(side / step) * step), LARGEST_PX)
