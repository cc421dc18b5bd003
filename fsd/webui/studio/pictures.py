"""The pictures that were made, from the outputs folder: newest first, as thumbnails, with their settings in words."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image

from fsd.data.picture_file import FORMATS, UNREADABLE
from fsd.errors import RecipeError
from fsd.infotext import parse
from fsd.runtime import files

THUMBNAIL_PX = 320
_FOR_PROGRAMS = ("Lora hashes", "Version", "Model hash")


def list_pictures(outputs: Path, most: int) -> list[Path]:
    """The newest pictures below `outputs`, at most so many, newest first; only as many folders are read as it takes."""
    found: list[Path] = []
    for folder in sorted(_folders(outputs), key=lambda path: path.name, reverse=True):
        inside = [path for path in folder.glob("*.png") if not files.is_temporary(path)]
        found += sorted(inside, key=_age, reverse=True)
        if len(found) >= most:
            break
    return found[:most]


@contextmanager
def opened(path: Path | str) -> Iterator[Image.Image]:
    """A picture file, open; RecipeError if it is gone, or no picture that can be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except FileNotFoundError:
        raise RecipeError(f"the picture {Path(path).name} is not there any more", "choose another one") from None
    except UNREADABLE as fault:
        what = f"{Path(path).name} cannot be read as a picture: {fault}"
        raise RecipeError(what, "give a PNG, JPEG or WebP file") from None


def thumbnail(picture: Path, folder: Path) -> Path:
    """A small WebP of a picture, kept in `folder`; the picture itself where none can be made of it."""
    try:
        state = picture.stat()
        key = f"{picture}|{state.st_size}|{state.st_mtime_ns}"
        small = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.webp"
        if not small.exists():
            with Image.open(picture, formats=FORMATS) as image, files.replacing(small) as temporary:
                image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
                image.convert("RGB").save(temporary, format="WEBP", quality=82)
        return small
    except UNREADABLE:
        return picture


def settings_of(path: Path | str) -> str:
    """The settings that a PNG carries, AUTOMATIC1111's text; "" when it carries none or is no readable picture."""
    try:
        with opened(path) as image:
            return str(image.info.get("parameters", ""))
    except RecipeError:
        return ""


def facts_html(infotext: str) -> str:
    """A picture's settings for people: its prompt, then each setting, as safe HTML; "" for none."""
    if not infotext.strip():
        return ""
    found = parse(infotext)
    lines = [f"<p>{html.escape(found.prompt) or 'no prompt'}</p>"]
    lines += [f"<p class='without'>without {html.escape(found.negative)}</p>"] if found.negative else []
    shown = [f"{name}: {value}" for name, value in found.settings.items() if name not in _FOR_PROGRAMS]
    chips = "".join(f"<span>{html.escape(text)}</span>" for text in shown)
    return "".join([*lines, f"<p class='chips'>{chips}</p>" if chips else ""])


def _folders(outputs: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in outputs.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return []


def _age(path: Path) -> tuple[float, str]:
    with suppress(OSError):
        return path.stat().st_mtime, path.name
    return 0.0, path.name
