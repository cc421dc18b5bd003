"""A process that is ready sooner: without the packages that its work never uses, and without pauses while it loads.

Diffusers and Transformers load some packages wherever they are installed. `None` in sys.modules is how Python marks a
module that cannot be imported (docs.python.org/3/reference/import.html, "The module cache"); they then go without it.
Python's cyclic garbage collector goes over all that was loaded again and again, and finds nothing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DRAWING = ("peft", "bitsandbytes")  # LoRAs are merged by ourselves, and no session's model is quantized
_FULL = (*_DRAWING, "scipy", "sklearn")
UNUSED = {
    "fsd.train.text_encoder": _FULL,
    "fsd.train.unet": _FULL,
    "fsd.train.plan": ("bitsandbytes",),
    "fsd.generate.sample": _DRAWING,
    "fsd.generate.score": _DRAWING,
}
"""What the modules that run as processes never use, unless they say so by `bring_back`; others are given everything."""


def begin(module: str) -> None:
    """Have this process load the module that it will run, and what that needs, as fast as it can; until `loaded`."""
    for package in UNUSED.get(module, ()):
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
    gc.disable()


def loaded() -> None:
    """From now on collect garbage, and not among what was loaded."""
    gc.freeze()
    gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """Load more modules without pauses."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def bring_back(package: str) -> None:
    """Let a package be imported after all, as by an optimizer that the recipe asks for."""
    if sys.modules.get(package, sys) is None:
        del sys.modules[package]
