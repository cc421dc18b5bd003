"""Small copies of photos, made when they are shown, and the last few kept in memory."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from fsd.data.decode import open_photo
from fsd.errors import SessionError

SMALL_PX, LARGE_PX = 320, 960
_KEPT = 64


def data_uri(path: Path, side_px: int = SMALL_PX) -> str:
    """The photo as a small JPEG for an <img>; SessionError when it cannot be read."""
    try:
        facts = path.stat()
    except OSError as fault:
        raise SessionError(f"{path.name} cannot be read: {fault.strerror}", "check that the file is there") from None
    return _made(path, side_px, facts.st_mtime_ns, facts.st_size)


@lru_cache(_KEPT)
def _made(path: Path, side_px: int, changed_ns: int, size_bytes: int) -> str:
    stream = BytesIO()
    open_photo(path, side_px).save(stream, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"
