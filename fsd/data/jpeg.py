"""A JPEG turned by what its EXIF says of how it is held: no pixel is decoded, so none gets worse.

A JPEG begins with segments: FF, a mark, a length of 2 bytes that counts itself (ITU-T T.81, B.1.1). EXIF lies in one, as a TIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO

_ORIENTATION = 0x0112
_NEXT = {1: 6, 6: 3, 3: 8, 8: 1, 2: 7, 7: 4, 4: 5, 5: 2}
"""EXIF's orientation of a photo that is turned clockwise once more; 2, 4, 5 and 7 are mirrored."""
_EXIF, _APP0, _APP1, _SCAN = b"Exif\0\0", 0xE0, 0xE1, 0xDA
_MOST = 0xFFFF - 2
_TRIED_PX, _ALIKE = 64, 6.0


def turned_jpeg(content: bytes, quarters: int) -> bytes | None:
    """The JPEG turned clockwise; None for what is none, or does not look turned afterwards."""
    from PIL import Image, ImageChops, ImageStat

    from fsd.data.decode import decode
    from fsd.data.picture_file import UNREADABLE
    from fsd.errors import SessionError

    if not content.startswith(b"\xff\xd8"):
        return None
    try:
        with Image.open(BytesIO(content), formats=("JPEG",)) as photo:
            exif = photo.getexif()
        now = exif.get(_ORIENTATION, 1)
        for _ in range(quarters % 4):
            now = _NEXT.get(now, _NEXT[1])
        exif[_ORIENTATION] = now
        new = _with_orientation(content, now, exif.tobytes())
        seen = decode(new, "it", _TRIED_PX).photo
        wanted = decode(content, "it", _TRIED_PX).photo.rotate(-90 * quarters, expand=True)
    except (*UNREADABLE, SessionError):
        return None
    same = seen.size == wanted.size and max(ImageStat.Stat(ImageChops.difference(seen, wanted)).mean) < _ALIKE
    return new if same else None


def _with_orientation(content: bytes, orientation: int, whole: bytes) -> bytes:
    """The file with another orientation: two bytes of its EXIF changed, else its EXIF replaced by `whole`, else added."""
    after = 2
    for mark, start, end in _segments(content):
        if mark == _APP0:
            after = end
        if mark == _APP1 and content[start + 4 : start + 10] == _EXIF:
            place = _place(content[start + 10 : end])
            if place is None:
                return content[:start] + _segment(whole) + content[end:]
            order, offset = place
            at = start + 10 + offset
            return content[:at] + struct.pack(f"{order}H", orientation) + content[at + 2 :]
    return content[:after] + _segment(whole) + content[after:]


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(mark, start, end) of each segment before the picture itself."""
    start = 2
    while start + 4 <= len(content) and content[start] == 0xFF:
        mark, size = content[start + 1], struct.unpack(">H", content[start + 2 : start + 4])[0]
        if mark == _SCAN:
            return
        yield mark, start, start + 2 + size
        start += 2 + size


def _place(tiff: bytes) -> tuple[str, int] | None:
    """(byte order, where the orientation's value is) in an EXIF's TIFF; None when it does not say one."""
    order = "<" if tiff.startswith(b"II") else ">"
    first = struct.unpack(f"{order}I", tiff[4:8])[0]
    for number in range(struct.unpack(f"{order}H", tiff[first : first + 2])[0]):
        at = first + 2 + 12 * number
        tag, kind, count = struct.unpack(f"{order}HHI", tiff[at : at + 8])
        if tag == _ORIENTATION:
            return (order, at + 8) if (kind, count) == (3, 1) else None
    return None


def _segment(exif: bytes) -> bytes:
    body = exif if exif.startswith(_EXIF) else _EXIF + exif
    if len(body) > _MOST:
        raise ValueError("the EXIF is too large")
    return struct.pack(">BBH", 0xFF, _APP1, len(body) + 2) + body
