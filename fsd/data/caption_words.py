"""What is done to the words of captions: find and replace, prefixes, and tags between commas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from fsd.errors import SessionError

Change = Callable[[str], tuple[str, int]]
"""A caption -> the new one, and how many places of it changed."""


def replacing(find: str, replace: str, regex: bool = False) -> Change:
    """What replaces every place of a text: as it stands, else of a regular expression, where \\1 is its first group.

    SessionError when there is nothing to find, or an expression is none.
    """
    if not find:
        raise SessionError("there is nothing to find", "write what to look for")
    try:
        pattern = re.compile(find if regex else re.escape(find))
        if regex:
            re.sub(pattern, replace, "")
            _groups(pattern, replace)
    except (re.error, IndexError, OverflowError) as fault:
        told = f"the regular expression {find!r} with {replace!r} cannot be used: {fault}"
        raise SessionError(told, "mend it, or search for the text as it stands") from None

    def change(text: str) -> tuple[str, int]:
        new, places = pattern.subn(replace if regex else lambda _: replace, text)
        return " ".join(new.split()), places

    return change


def with_prefix(prefix: str) -> Change:
    """What puts words before a caption that does not begin with them."""
    return lambda text: (text, 0) if text.startswith(prefix) else (f"{prefix.rstrip()} {text}", 1)


def without_prefix(prefix: str) -> Change:
    """What takes words off the beginning of a caption."""
    return lambda text: (text.removeprefix(prefix).lstrip(" ,"), 1) if text.startswith(prefix) else (text, 0)


def without_tag(tag: str) -> Change:
    """What takes a tag out of a caption."""

    def change(text: str) -> tuple[str, int]:
        found = tags(text)
        left = [one for one in found if one != tag]
        return (", ".join(left), len(found) - len(left)) if len(left) < len(found) else (text, 0)

    return change


def tags(text: str) -> list[str]:
    """What stands between a caption's commas."""
    return [tag for tag in (part.strip() for part in text.split(",")) if tag]


def common_prefix(texts: Iterable[str]) -> str:
    """The words that all texts begin with, "" where there are none."""
    found: list[str] | None = None
    for text in texts:
        words = text.split(" ")
        found = words if found is None else found
        same = next((at for at, (a, b) in enumerate(zip(found, words, strict=False)) if a != b), len(words))
        found = found[:same]
        if not found:
            return ""
    return " ".join(found or [])


def _groups(pattern: re.Pattern[str], replace: str) -> None:
    """IndexError or re.error when a replacement names a group that the expression has not."""
    re.compile(f"(?:{pattern.pattern})|", pattern.flags).sub(replace, "")
