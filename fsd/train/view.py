"""A view of a photo: what of it training sees, at which size, and whether mirrored."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image, ImageOps

from fsd.data.box import Area, Box
from fsd.data.dataset import TrainingPhoto
from fsd.data.decode import cut_out, open_photo
from fsd.data.mask import read_mask, subject_mask
from fsd.recipe import Recipe
from fsd.runtime import files
from fsd.train.randomness import generator

BUCKET_STEP_PX = 64
_MOST_ASPECT = 2.0
_SHIFT = 0.08
"""How far, of its sides, a shifted area is at most moved."""


@dataclass(frozen=True)
class View:
    """area: the part of the upright photo, in its pixels. size_px: (width, height) of the picture that is trained on.

    outside: how much what is not the subject counts. drawn: the mask that shows the subject, which else is found.
    """

    path: Path
    area: Area
    size_px: tuple[int, int]
    mirrored: bool = False
    outside: float = 1.0
    drawn: Path | None = None

    def picture(self) -> Image.Image:
        """The picture, RGB, of `size_px`."""
        return self._cut(open_photo(self.path))

    def mask(self) -> Image.Image:
        """Where in the picture the subject is: 8-bit, white, of `size_px`."""
        photo = open_photo(self.path)
        return self._cut(read_mask(self.drawn, photo.size) if self.drawn else subject_mask(photo))

    def key(self) -> str:
        """Text that is another when the picture or its mask is."""
        drawn = files.sha256(self.drawn) if self.drawn else ""
        return f"{files.sha256(self.path)} {self.area} {self.size_px} {self.mirrored} {self.outside} {drawn}"

    def _cut(self, whole: Image.Image) -> Image.Image:
        found = cut_out(whole, self.area, self.size_px)
        return ImageOps.mirror(found) if self.mirrored else found


def views_of(photo: TrainingPhoto, recipe: Recipe) -> list[View]:
    """The photo's square, or nearly all of it in a bucket, then the recipe's number of augmented copies.

    What the copies are depends on the seed and the photo's name alone.
    """
    if recipe.buckets:
        whole = open_photo(photo.path).size
        size_px = bucket(whole[0] / whole[1], recipe.resolution_px)
        first = View(photo.path, _around(photo.box, whole, size_px), size_px)
    else:
        left, top, side = photo.box
        first = View(photo.path, (left, top, side, side), (recipe.resolution_px, recipe.resolution_px))
    if recipe.mask.of == "subject" or (recipe.mask.of == "drawn" and photo.mask):
        first = replace(first, outside=recipe.mask.outside, drawn=photo.mask)
    return [first, *(_copy(first, recipe, number) for number in range(recipe.augment.copies))]


def bucket(aspect: float, resolution_px: int) -> tuple[int, int]:
    """(width, height) nearest to an aspect (width / height), multiples of 64 px with at most resolution_px^2 pixels."""
    aspect = min(_MOST_ASPECT, max(1 / _MOST_ASPECT, aspect))
    widths = range(BUCKET_STEP_PX, int(resolution_px * math.sqrt(_MOST_ASPECT)) + 1, BUCKET_STEP_PX)
    sizes = [(width, resolution_px**2 // width // BUCKET_STEP_PX * BUCKET_STEP_PX) for width in widths]
    usable = [size for size in sizes if size[1] and 1 / _MOST_ASPECT <= size[0] / size[1] <= _MOST_ASPECT]
    return min(usable, key=lambda size: (abs(math.log(size[0] / size[1] / aspect)), -size[0] * size[1]))


def _around(box: Box, whole: tuple[int, int], size_px: tuple[int, int]) -> Area:
    """The largest area of a bucket's aspect, with the square that shows the subject as near its middle as it can be."""
    scale = min(whole[0] / size_px[0], whole[1] / size_px[1])
    width, height = (max(1, round(side * scale)) for side in size_px)
    left, top = round(box[0] + box[2] / 2 - width / 2), round(box[1] + box[2] / 2 - height / 2)
    return min(max(0, left), whole[0] - width), min(max(0, top), whole[1] - height), width, height


def _copy(view: View, recipe: Recipe, number: int) -> View:
    random = generator(recipe.seed, "view", view.path.name, number)
    left, top, width, height = view.area
    across, down = (torch.rand(2, generator=random) * 2 - 1).tolist() if recipe.augment.shift else (0.0, 0.0)
    area = (round(left + across * _SHIFT * width), round(top + down * _SHIFT * height), width, height)
    return replace(view, area=area, mirrored=recipe.augment.mirror and number % 2 == 0)
