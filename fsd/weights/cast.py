"""Floating dtypes cast chunk by chunk.

By numpy: torch casts faster, but over a full-size model only by what importing it takes, and it needs six times the
memory (tests/benchmarks/README.md).
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
        with np.errstate(over="ignore"):
            values = wide.astype(NAMES.get(new, "<f4"))
        if new == "BF16":
            values = _upper_halves(values.view("<u4"))
        if new in EXPONENTS and ((values.view("<u2") & EXPONENTS[new]) == EXPONENTS[new]).any():
            raise OverflowError
        return values.tobytes()

    return cast


def _upper_halves(bits: Any) -> Any:
    """The upper 16 bits of single-precision values, rounded to even; what is no number becomes infinite or stays."""
    import numpy as np

    rounding = ((bits >> 16) & 1) + 0x7FFF
    rounded = np.where((bits & 0x7FFFFFFF) > 0x7F800000, bits, bits + rounding)
    return (rounded >> 16).astype("<u2")
