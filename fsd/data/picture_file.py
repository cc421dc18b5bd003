"""Picture files that strangers give: which kinds are opened at all, and every way in which a damaged one fails."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
UNREADABLE = (
    OSError, ValueError, SyntaxError, NotImplementedError, LookupError, TypeError, ArithmeticError, AttributeError,
    EOFError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for files that are gone, damaged, of other kinds or far too large."""
