"""Photos become RGB pixels: upright, on white, 8 bits a channel, and never larger than asked for."""

from __future__ import annotations

from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from fsd.data import pillow_limits
from fsd.data.box import Area, Box
from fsd.errors import SessionError

if TYPE_CHECKING:
    from PIL import Image as Pil

MAX_SIDE_PX = 4096
MAX_HEADER_PIXELS = 400_000_000
"""Larger photos are refused by their header: even a reduced JPEG keeps coefficients of every pixel in memory."""
MAX_DECODED_PIXELS = 120_000_000
"""What is decoded at once, about 0.5 GB; a JPEG is reduced by 2, 4 or 8 while it is read."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "HEIF")
READABLE = "JPEG, PNG, WebP, AVIF, BMP, TIFF, HEIC"
_OTHERS = {b"GIF8": "a GIF", b"%PDF": "a PDF", b"PK\x03\x04": "a zip", b"<svg": "an SVG drawing", b"<?xm": "XML"}


class Decoded(NamedTuple):
    """A photo in RGB. kind: its format, such as "JPEG". size: (width, height) upright, in pixels of the file itself."""

    photo: Pil.Image
    kind: str
    size: tuple[int, int]


def open_photo(path: Path, max_side_px: int = MAX_SIDE_PX) -> Pil.Image:
    """The photo as RGB, EXIF rotation applied, transparency on white, longest side at most `max_side_px`.

    Its pixels are counted in the header before any is decoded. SessionError when it cannot be read.
    """
    return read_photo(path, max_side_px).photo


def read_photo(path: Path, max_side_px: int = MAX_SIDE_PX) -> Decoded:
    """What `open_photo` gives, with the file's format and full size."""
    try:
        with path.open("rb") as stream:
            return decode(stream, path.name, max_side_px)
    except OSError as error:
        raise SessionError(
            f"{path} cannot be read: {error.strerror or error}", "check that the file is there"
        ) from None


def decode(source: bytes | BinaryIO, name: str, max_side_px: int = MAX_SIDE_PX) -> Decoded:
    """The photo in a file's bytes; SessionError naming `name` and the reason."""
    stream = BytesIO(source) if isinstance(source, bytes) else source
    hint = "open it in a picture viewer and save it anew, or leave it out"
    with pillow_limits.put_aside:
        try:
            return _decode(stream, max_side_px)
        except _Refused as refusal:
            raise SessionError(f"{name}: {refusal}", hint) from None
        except Exception as error:  # Pillow's readers raise almost anything on damaged files
            raise SessionError(f"{name}: damaged or cut short ({error or type(error).__name__})", hint) from None


def square(photo: Pil.Image, box: Box, resolution_px: int) -> Pil.Image:
    """The box of the photo as RGB, `resolution_px` on each side; a box that reaches outside is moved and cut to fit."""
    side = max(1, min(box[2], *photo.size))
    return cut_out(photo, (box[0], box[1], side, side), (resolution_px, resolution_px))


def cut_out(photo: Pil.Image, area: Area, size_px: tuple[int, int]) -> Pil.Image:
    """The area of the photo as RGB of that size; an area that reaches outside is moved and cut to fit."""
    from PIL import Image

    width, height = max(1, min(area[2], photo.width)), max(1, min(area[3], photo.height))
    left = min(max(0, area[0]), photo.width - width)
    top = min(max(0, area[1]), photo.height - height)
    cut = (left, top, left + width, top + height)
    return photo.resize(size_px, Image.Resampling.LANCZOS, cut, reducing_gap=3.0)


def opened_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size, within a pixel, at which `open_photo` gives a photo of that full size."""
    scale = min(1, MAX_SIDE_PX / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


class _Refused(Exception):
    """Why a file is not used, in words for the user."""


def _decode(stream: BinaryIO, max_side_px: int) -> Decoded:
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()
    heif = _register_heif()
    head = stream.read(32)
    stream.seek(0)
    if not head:
        raise _Refused("empty (0 bytes)")
    try:
        photo = Image.open(stream, formats=[name for name in FORMATS if name != "HEIF" or heif])
    except UnidentifiedImageError:
        raise _Refused(_not_a_photo(head, heif)) from None
    kind, size = str(photo.format), photo.size
    _bound(photo, max_side_px)
    photo.seek(0)  # of an animation the first frame
    photo.load()
    upright = ImageOps.exif_transpose(photo)
    rgb = _to_rgb(upright)
    if max(rgb.size) > max_side_px:
        rgb.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return Decoded(rgb, kind, size if upright.size == photo.size else size[::-1])


def _bound(photo: Pil.Image, max_side_px: int) -> None:
    """Refuse too many pixels by the header; let a JPEG decode at the smallest scale that is still large enough."""
    width, height = photo.size
    told = f"{width} x {height} px is more than can be decoded here"
    if width * height > MAX_HEADER_PIXELS:
        raise _Refused(told)
    if max(width, height) > max_side_px:
        scale = max_side_px / max(width, height)
        photo.draft(None, (ceil(width * scale), ceil(height * scale)))
    if photo.width * photo.height > MAX_DECODED_PIXELS:
        raise _Refused(told)


def _to_rgb(photo: Pil.Image) -> Pil.Image:
    from PIL import Image

    if photo.mode in ("I", "F") or photo.mode.startswith("I;16"):
        return _from_deep(photo)
    if photo.has_transparency_data:
        solid = photo.convert("RGBA")
        white = Image.new("RGBA", solid.size, "white")
        return Image.alpha_composite(white, solid).convert("RGB")
    return _to_srgb(photo) if photo.mode in ("RGB", "CMYK") and photo.info.get("icc_profile") else photo.convert("RGB")


def _from_deep(photo: Pil.Image) -> Pil.Image:
    """Grey of 16 or 32 bits or of real numbers as 8 bits, scaled by its full range where known, else its extremes."""
    import numpy as np
    from PIL import Image

    grey = np.nan_to_num(np.asarray(photo).astype(np.float32))
    low, high = float(grey.min()), float(grey.max())
    if photo.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif photo.mode != "F" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (grey - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _to_srgb(photo: Pil.Image) -> Pil.Image:
    """The colours as sRGB by the embedded profile; a profile that cannot be used is left aside, as viewers do."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(photo.info["icc_profile"]))
        done: Any = ImageCms.profileToProfile(photo, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return photo.convert("RGB")
    return done


def _not_a_photo(head: bytes, heif: bool) -> str:
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1") and not heif:
        return "HEIC is read by pillow-heif, which is not installed (fsd setup train)"
    found = next((what for mark, what in _OTHERS.items() if head.startswith(mark)), "")
    if head[4:8] == b"ftyp" and not found:
        found = "a film"
    return f"{found or 'not a photo'}; read are {READABLE}"


def _register_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
