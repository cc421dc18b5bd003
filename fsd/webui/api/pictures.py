"""Pictures in the API: base64 texts to files and back, checked before anything else sees them."""

from __future__ import annotations

import base64
import binascii
import io
import re
from pathlib import Path

from fsd.webui.api.requests import Refused

_MOST_BYTES = 100 << 20
_HINT = "send a PNG, JPEG or WebP file as base64; addresses are not fetched"


def keep_picture(text: str, invert: bool, folder: Path) -> str:
    """The path of a new PNG in `folder` with the picture of a base64 text; Refused with status 422 for anything else."""
    from PIL import Image, ImageOps

    from fsd.data.picture_file import FORMATS, UNREADABLE

    content = decoded(text)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture = ImageOps.invert(picture.convert("L")) if invert else picture.convert("RGBA")
    except UNREADABLE:
        raise Refused(422, "Invalid encoded image", [("image", "no picture that can be read")], _HINT) from None
    path = folder / f"{len(list(folder.iterdir()))}.png"
    picture.save(path)
    return str(path)


def decoded(text: str) -> bytes:
    """The bytes of a base64 text, with or without the head of a data URL; Refused with status 422 for anything else."""
    plain = re.sub(r"^data:[\w/+.-]*;base64,", "", text.strip())
    try:
        if len(plain) > _MOST_BYTES:
            raise ValueError("too large")
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise Refused(422, "Invalid encoded image", [("image", str(fault))], _HINT) from None


def encoded(path: Path) -> str:
    """A file as base64."""
    return base64.b64encode(path.read_bytes()).decode()


def png_texts(content: bytes) -> dict[str, str]:
    """The texts in a picture, by name, those of a PNG and a JPEG's comment; Refused for what is no picture."""
    from PIL import Image

    from fsd.data.picture_file import FORMATS, UNREADABLE

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            opened.load()
            texts = {str(name): value for name, value in opened.info.items() if isinstance(value, str)}
            comment = opened.getexif().get_ifd(0x8769).get(0x9286, b"")
    except UNREADABLE:
        raise Refused(422, "Invalid encoded image", [("image", "no picture that can be read")], _HINT) from None
    if "parameters" not in texts and isinstance(comment, bytes) and comment[:8] == b"UNICODE\0":
        texts["parameters"] = comment[8:].decode("utf-16-be", "replace")
    return texts
