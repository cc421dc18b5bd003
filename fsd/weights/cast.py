"""Floating dtypes cast chunk by chunk.

By numpy, whole numbers for single to half precision, which numpy itself casts at half the speed. Torch casts faster,
but over a full-size model only by what importing it takes, and it needs six times the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Cast = Callable[[bytes], bytes]
NAMES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
EXPONENTS = {"F16": 0x7C00, "BF16": 0x7F80}
"""The bits that are all set in what is infinite or no number."""


def caster(old: str, new: str) -> Cast | None:
    """A function from the bytes of one floating dtype to another's (rounding to even); None where they are the same.

    The function raises OverflowError when a result of 16 bits is not finite.
    """
    if old == new:
        return None
    import numpy as np

    def cast(chunk: bytes) -> bytes:
        if old == "BF16":
            wide = (np.frombuffer(chunk, "<u2").astype("<u4") << 16).view("<f4")
        else:
            wide = np.frombuffer(chunk, NAMES[old])
        if new == "F16" and wide.dtype == "<f4":
            return _halves(wide.view("<u4"))
        with np.errstate(over="ignore"):
            values = wide.astype(NAMES.get(new, "<f4"))
        if new == "BF16":
            values = _upper_halves(values.view("<u4"))
        if new in EXPONENTS and ((values.view("<u2") & EXPONENTS[new]) == EXPONENTS[new]).any():
            raise OverflowError
        return values.tobytes()

    return cast


def _halves(bits: Any) -> bytes:
    """Single precision (as its bits) to half precision, rounded to even (IEEE 754); OverflowError if one is not finite.

    A normal number loses 13 bits of its fraction and its exponent's bias shrinks by 112; for a smaller one, adding 0.5
    leaves its multiples of 2^-24, the step of subnormal halves, in the lowest bits.
    """
    import numpy as np

    size = bits & np.uint32(0x7FFFFFFF)
    if size.max(initial=0) > 0x477FEFFF:
        raise OverflowError
    small = size < 0x38800000
    tiny = (size.view("<f4") + np.float32(0.5)).view("<u4") - np.uint32(0x3F000000)
    found = ((size >> 13) & np.uint32(1)) + np.uint32(0xC8000FFF)
    found += size
    found >>= 13
    np.copyto(found, tiny, where=small)
    found |= (bits >> 16) & np.uint32(0x8000)
    return found.astype("<u2").tobytes()


def _upper_halves(bits: Any) -> Any:
    """The upper 16 bits of single-precision values, rounded to even; what is no number becomes infinite or stays."""
    import numpy as np

    rounding = ((bits >> 16) & 1) + 0x7FFF
    rounded = np.where((bits & 0x7FFFFFFF) > 0x7F800000, bits, bits + rounding)
    return (rounded >> 16).astype("<u2")
