"""Floating dtypes cast chunk by chunk, by numpy or by torch, whichever is sooner done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Cast = Callable[[bytes], bytes]

TORCH_PAYS_BYTES = 1 << 30
"""Above this, importing torch for its faster cast (16 against 0.9 GB/s where it was tried) costs less than it saves."""


def caster(old: str, new: str, total_bytes: int) -> Cast | None:
    """A function from the bytes of one floating dtype to another's (rounding to even); None where they are the same.

    total_bytes: how much there is to cast; decides between numpy and torch. The function raises OverflowError when
    narrowing leaves a value that is not finite.
    """
    if old == new:
        return None
    if old == "F32" and new == "F16" and ("torch" in sys.modules or total_bytes > TORCH_PAYS_BYTES):
        try:
            return _torch_cast()
        except ImportError:
            pass
    return _numpy_cast(old, new)


def _torch_cast() -> Cast:
    import torch

    def cast(chunk: bytes) -> bytes:
        wide = torch.frombuffer(bytearray(chunk), dtype=torch.float32)
        return _finite(wide.to(torch.float16).numpy())

    return cast


def _numpy_cast(old: str, new: str) -> Cast:
    import numpy as np

    names = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}

    def cast(chunk: bytes) -> bytes:
        with np.errstate(over="ignore"):
            if old == "BF16":
                wide = (np.frombuffer(chunk, "<u2").astype("<u4") << 16).view("<f4")
            else:
                wide = np.frombuffer(chunk, names[old])
            return _finite(wide.astype(names[new]))

    return cast


def _finite(values: Any) -> bytes:
    if values.dtype == "float16" and ((values.view("uint16") & 0x7C00) == 0x7C00).any():
        raise OverflowError
    return values.tobytes()
