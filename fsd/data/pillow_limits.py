"""What Pillow limits and warns of, put aside while photos are decoded, also by several threads at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from fsd.errors import missing_package


class _PutAside:
    """Pillow's limit on pixels and all warnings, while any thread decodes: both are one for the whole process.

    `decode` counts the pixels itself, and knows what a JPEG is reduced to.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._put_back = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._put_back.enter_context(_own_pixel_limit())
                self._put_back.enter_context(warnings.catch_warnings(action="ignore"))
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._put_back.close()


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    try:
        from PIL import Image
    except ModuleNotFoundError as fault:
        raise missing_package(fault) from None
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


put_aside = _PutAside()
