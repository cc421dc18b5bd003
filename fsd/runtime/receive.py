"""What one connection brings of a file: placed where it belongs, or refused for what it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import NoReturn
from urllib.parse import urlsplit

from fsd.errors import DownloadError
from fsd.runtime import report, secrets
from fsd.runtime.file_names import file_name
from fsd.runtime.pages import MOST_BYTES, Page, is_page, read_page
from fsd.runtime.partial import Facts, Partial
from fsd.runtime.retry import Again, Clock
from fsd.runtime.web import Answer, Visitor, refuse

_BLOCK_BYTES = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Wanted:
    """What was asked for. title: what people call it. page: where they can look at it. "" and None: not known.

    look: is shown how the file begins before any of it is kept, and may refuse it.
    """

    url: str
    title: str
    page: str
    clock: Clock
    name: str = ""
    size_bytes: int | None = None
    sha256: str = ""
    token: str = field(default="", repr=False)
    look: Callable[[bytes], object] | None = None


def receive(wanted: Wanted, visitor: Visitor, partial: Partial, count: Callable[[int], object]) -> bool:
    """Take what one connection brings, telling `count` its bytes; True when the file is whole.

    Again for what may pass, DownloadError for what will not, MachineError when there is no space.
    """
    link = ""
    for _ in range(3):  # a page that asks to confirm may come first
        with visitor.ask(partial.resume_headers(), link) as answer:
            if answer.status == 416:
                return _past_the_end(answer, partial)
            if answer.status not in (200, 206):
                refuse(answer, wanted.title, wanted.page, bool(visitor.token), wanted.clock.time())
            first = _read(answer, _BLOCK_BYTES)
            if not is_page(answer.header("Content-Type"), first):
                return _store(wanted, answer, first, partial, count)
            page = _whole_page(answer, first)
            link = page.confirm
            if not link:
                _refuse_page(wanted, page, answer)
    raise DownloadError(f"{wanted.title} asks again and again to confirm", f"open {wanted.page} in a browser")


def _store(wanted: Wanted, answer: Answer, first: bytes, partial: Partial, count: Callable[[int], object]) -> bool:
    """Add a body, whose start is `first`, to what is there; True when the file is whole."""
    missing, total = _place(wanted, answer, partial)
    name = wanted.name or file_name(answer.header("Content-Disposition"), wanted.url, answer.url)
    if wanted.look and not partial.size_bytes:
        wanted.look(first)
    partial.describe(Facts(name, total, _validator(answer)))
    partial.need_room()
    block = first if missing is None else first[:missing]
    while block:
        partial.write(block)
        count(len(block))
        if missing is not None:
            missing -= len(block)
        block = b"" if missing == 0 else _read(answer, min(_BLOCK_BYTES, missing or _BLOCK_BYTES))
    return not missing and (total is None or partial.size_bytes >= total)


def _place(wanted: Wanted, answer: Answer, partial: Partial) -> tuple[int | None, int | None]:
    """How many bytes this answer brings, and how many the whole file has; None where the server does not say.

    Throws away what is there when the server sends everything. Again when it sends another part than was asked for, or
    one of another version; DownloadError when the file is empty or of another size than expected.
    """
    length = int(text) if (text := answer.header("Content-Length")).isdigit() else None
    total = length
    if answer.status == 206:
        length, total = _part(answer, partial)
    elif partial.size_bytes:
        report.say(f"{wanted.title}: the server cannot go on with it, or has a new version; from the start")
        partial.restart()
    host = urlsplit(answer.url).hostname
    if total == 0:
        raise DownloadError(f"{wanted.title} is empty at {host}", f"open {wanted.page} in a browser")
    if wanted.size_bytes is not None and total not in (None, wanted.size_bytes):
        partial.restart()
        what = f"{wanted.title} has {total} bytes at {host}, not {wanted.size_bytes}"
        raise DownloadError(what, "it is another file or another version of it: check the link")
    return length, total


def _part(answer: Answer, partial: Partial) -> tuple[int, int | None]:
    """The bytes of a part that fits what is there, and of the whole file; otherwise Again, from the start."""
    match = _RANGE.fullmatch(answer.header("Content-Range").strip())
    known = partial.facts or Facts("", None, "")
    total = int(match[3]) if match and match[3] != "*" else known.size_bytes
    same = known.size_bytes in (None, total) and _validator(answer) in ("", known.validator or _validator(answer))
    if not match or int(match[1]) != partial.size_bytes or not same:
        partial.restart()
        raise Again("the server sends another part than was asked for")
    return int(match[2]) - int(match[1]) + 1, total


def _past_the_end(answer: Answer, partial: Partial) -> bool:
    """After "no such range": True if nothing is missing, as happens when the server named a size too large."""
    match = re.fullmatch(r"bytes \*/(\d+)", answer.header("Content-Range").strip())
    if match and partial.size_bytes and int(match[1]) == partial.size_bytes:
        return True
    partial.restart()
    raise Again("the server does not have the part that is missing")


def _validator(answer: Answer) -> str:
    """What If-Range accepts: a strong ETag or the date of the last change."""
    tag = answer.header("ETag")
    return tag if tag.startswith('"') else answer.header("Last-Modified")


def _read(answer: Answer, most: int) -> bytes:
    """The next bytes of a body, b"" at its end; Again when the connection is lost."""
    try:
        return answer.body.read1(most)  # type: ignore[attr-defined]
    except (OSError, HTTPException) as fault:
        raise Again(f"the connection was lost ({type(fault).__name__})") from None


def _whole_page(answer: Answer, start: bytes) -> Page:
    body = block = start
    while block and len(body) < MOST_BYTES:
        block = _read(answer, MOST_BYTES)
        body += block
    return read_page(body, answer.url)


def _refuse_page(wanted: Wanted, page: Page, answer: Answer) -> NoReturn:
    host = urlsplit(answer.url).hostname
    if page.asks_to_sign_in:
        what = f"{host} asks to sign in before it gives {wanted.title}"
        raise DownloadError(what, secrets.how_to_sign_in(wanted.page))
    site = secrets.site_of(wanted.url)
    hint = f"open {wanted.page} in a browser and take the link that downloads the file itself"
    hint = site.to_sign_in if site and not site.token else hint
    raise DownloadError(f"{host} sent a web page instead of {wanted.title}: {page.title or 'untitled'!r}", hint)
