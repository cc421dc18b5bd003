"""Floating dtypes cast chunk by chunk.

By numpy: torch casts faster, but over a full-size model only by what importing it takes, and it needs six times the
memory (tests/benchmarks/README.md).
"""

from __future__ import annotations

from collections.abc import Callable

Cast = Callable[[bytes], bytes]
NAMES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def caster(old: str, new: str) -> Cast | None:
    """A function from the bytes of one floating dtype to another's (rounding to even); None where they are the same.

    The function raises OverflowError when a half-precision result is not finite.
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
            values = wide.astype(NAMES[new])
        if new == "F16" and ((values.view("<u2") & 0x7C00) == 0x7C00).any():
            raise OverflowError
        return values.tobytes()

    return cast
