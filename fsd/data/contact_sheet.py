"""One picture with every photo of a session and the square that training sees."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from fsd.data.concept import photos_of
from fsd.data.crop import Crop, crop_photos
from fsd.data.decode import open_photo
from fsd.data.folder import Session
from fsd.data.names import shortened
from fsd.errors import SessionError
from fsd.runtime.files import replacing

if TYPE_CHECKING:
    from PIL import Image as Pil

TILE_PX, TEXT_PX, GAP_PX, COLUMNS = 240, 34, 10, 5
COLOURS = {"face": "#2f9e44", "saliency": "#1971c2", "entropy": "#868e96", "hand": "#e03131"}


def contact_sheet(session: Session) -> Path:
    """The path of the session's contact_sheet.png: each photo with its square, name, size and what chose the square."""
    from PIL import Image

    crops = crop_photos(session)
    training = photos_of(session.instance_images)
    paths = training + photos_of(session.held_out_images)
    if not paths:
        raise SessionError(f"session {session.name!r} has no photos", "add photos first")
    columns, step = min(COLUMNS, len(paths)), TILE_PX + GAP_PX
    rows, row_px = ceil(len(paths) / columns), TILE_PX + TEXT_PX + GAP_PX
    sheet = Image.new("RGB", (columns * step + GAP_PX, rows * row_px + GAP_PX), "white")
    for index, path in enumerate(paths):
        note = "" if path in training else ", held out"
        corner = (GAP_PX + index % columns * step, GAP_PX + index // columns * row_px)
        sheet.paste(_tile(path, crops[path.name], note), corner)
    target = session.folder / "contact_sheet.png"
    with replacing(target) as temporary:
        sheet.save(temporary, format="PNG")
    return target


def _tile(path: Path, crop: Crop, note: str) -> Pil.Image:
    from PIL import Image, ImageDraw, ImageFont

    tile = Image.new("RGB", (TILE_PX, TILE_PX + TEXT_PX), "white")
    scale = TILE_PX / max(crop.size)
    size = tuple(max(1, round(side * scale)) for side in crop.size)
    small = open_photo(path, 2 * TILE_PX).resize(size, reducing_gap=3.0)  # type: ignore[arg-type]
    left, top, side = (round(value * scale) for value in crop.box)
    dim = small.point(lambda value: (value + 255) // 2)
    dim.paste(small.crop((left, top, left + side, top + side)), (left, top))
    pen = ImageDraw.Draw(dim)
    frame = (left, top, min(left + side, dim.width) - 1, min(top + side, dim.height) - 1)
    pen.rectangle(frame, outline=COLOURS.get(crop.by, "black"), width=3)
    tile.paste(dim, ((TILE_PX - dim.width) // 2, (TILE_PX - dim.height) // 2))
    words = ImageDraw.Draw(tile)
    words.text((0, TILE_PX + 2), shortened(path.name, 34), fill="black", font=ImageFont.load_default(13))
    told = f"{crop.size[0]} x {crop.size[1]} px, {crop.by}{note}"
    words.text((0, TILE_PX + 18), told, fill=COLOURS.get(crop.by, "black"), font=ImageFont.load_default(12))
    return tile
