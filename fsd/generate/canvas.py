"""The pictures that a job starts from: read, cut to size, their masks softened, and the painted area put back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from fsd.data.picture_file import FORMATS, UNREADABLE
from fsd.errors import RecipeError
from fsd.job import LARGEST_PX, Job

Size = tuple[int, int]
Box = tuple[int, int, int, int]


def read_picture(path: str, mode: str = "RGB") -> Image.Image:
    """A picture file, upright; transparent parts are white, in a mask black. RecipeError if it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except UNREADABLE as fault:
        raise RecipeError(f"{path} cannot be read as a picture: {fault}", "give a PNG, JPEG or WebP file") from None
    paper = Image.new("RGBA", picture.size, "white" if mode == "RGB" else "black")
    return Image.alpha_composite(paper, picture).convert(mode)


def fitted(picture: Image.Image, size: Size, fit: str = "crop") -> Image.Image:
    """The picture in a size: cut to its shape around the middle, or stretched to it."""
    if picture.size == size:
        return picture
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS) if fit == "crop" else picture.resize(size)


def size_like(picture: Image.Image, side_px: int, step_px: int) -> Size:
    """A size of the picture's shape with about side_px * side_px pixels, in multiples of step_px, none over LARGEST_PX."""
    scale, most = side_px / (picture.width * picture.height) ** 0.5, LARGEST_PX // step_px
    width, height = (step_px * min(most, max(1, round(side * scale / step_px))) for side in picture.size)
    return width, height


@dataclass(frozen=True)
class Canvas:
    """What a job paints on, in the size that the pipeline takes. image, mask: None where the job has none.

    whole: the picture that the painted area is put back into; soft: its mask with a soft edge; box: the area.
    """

    size: Size
    image: Image.Image | None = None
    mask: Image.Image | None = None
    whole: Image.Image | None = None
    soft: Image.Image | None = None
    box: Box | None = None

    def finished(self, drawn: Image.Image) -> Image.Image:
        """The picture as it is kept: all that was not masked is as it was."""
        if self.whole is None or self.soft is None or self.box is None:
            return drawn
        result = self.whole.copy()
        left, top, right, bottom = self.box
        result.paste(drawn.resize((right - left, bottom - top)), self.box, self.soft.crop(self.box))
        return result

    def seen(self, control: Image.Image, fit: str) -> Image.Image:
        """A control's picture as it lies below the painted area."""
        if self.whole is not None and self.box is not None:
            return fitted(control, self.whole.size, fit).crop(self.box).resize(self.size)
        return fitted(control, self.size, fit)


def make_canvas(job: Job, size: Size) -> Canvas:
    """The canvas of a job. RecipeError when a picture cannot be read, or the mask is empty."""
    if job.mode == "txt2img":
        return Canvas(size)
    image = read_picture(job.init_image)
    if job.mode == "img2img":
        return Canvas(size, fitted(image, size, job.fit))
    mask = read_picture(job.mask, "L").resize(image.size)
    if not mask.getbbox():
        raise RecipeError(
            "the mask is all black: nothing would be painted", "paint white where the picture is to change"
        )
    if job.mask_padding_px is None:
        image, mask = fitted(image, size, job.fit), fitted(mask, size, job.fit)
    box = _area(mask, job.mask_padding_px, size)
    soft = mask.filter(ImageFilter.GaussianBlur(job.mask_blur_px)) if job.mask_blur_px else mask
    start = _surroundings(image, mask) if job.mask_fill == "surroundings" else image
    return Canvas(size, start.crop(box).resize(size), soft.crop(box).resize(size), image, soft, box)


def _area(mask: Image.Image, padding_px: int | None, size: Size) -> Box:
    """What is painted: all of it, or the masked area with some around it, in the shape of `size` where there is room."""
    found = mask.getbbox()
    if padding_px is None or found is None:
        return (0, 0, *mask.size)
    left, top = max(0, found[0] - padding_px), max(0, found[1] - padding_px)
    right, bottom = min(mask.width, found[2] + padding_px), min(mask.height, found[3] + padding_px)
    width, height, shape = right - left, bottom - top, size[0] / size[1]
    width, height = max(width, round(height * shape)), max(height, round(width / shape))
    width, height = min(width, mask.width), min(height, mask.height)
    left = min(max(0, (left + right - width) // 2), mask.width - width)
    top = min(max(0, (top + bottom - height) // 2), mask.height - height)
    return left, top, left + width, top + height


def _surroundings(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with the masked area filled by what is around it, nearest first."""
    kept = mask.point(lambda value: 0 if value else 255)
    seen = Image.composite(image, Image.new("RGB", image.size), kept)
    filled = np.broadcast_to(np.asarray(image, dtype=np.float32).mean((0, 1)), (*image.size[::-1], 3))
    for radius in (64, 16, 4):
        blur = ImageFilter.BoxBlur(radius)
        share = np.asarray(kept.filter(blur), dtype=np.float32)[..., None] / 255
        near = np.asarray(seen.filter(blur), dtype=np.float32) / np.maximum(share, 1 / 255)
        weight = np.clip(share * 8, 0, 1)
        filled = filled * (1 - weight) + near * weight
    return Image.composite(image, Image.fromarray(np.clip(filled, 0, 255).astype(np.uint8)), kept)
