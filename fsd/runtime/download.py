"""Files from links: gone on with where they were cut, checked, and never fetched twice. The hub has its own client."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from fsd.errors import DownloadError
from fsd.runtime import files, report, secrets
from fsd.runtime.file_names import safe_name
from fsd.runtime.partial import Partial, link_key
from fsd.runtime.receive import Wanted, receive
from fsd.runtime.retry import REAL_CLOCK, Again, Clock, persist
from fsd.runtime.web import Visitor, refuse, shown


def fetch(
    url: str,
    folder: Path,
    *,
    name: str = "",
    size_bytes: int | None = None,
    sha256: str = "",
    token: str = "",
    label: str = "",
    page: str = "",
    quiet: bool = False,
    look: Callable[[bytes], object] | None = None,
    clock: Clock = REAL_CLOCK,
) -> Path:
    """The file behind an http(s) link, in `folder` under its true name; fetched unless it is there.

    name: instead of what the server calls it. size_bytes, sha256: what it must be. token: for the link's own host
    (default: what `secrets` has for it). label: what people call it. page: where they can look at it. quiet: no bar.
    look: is shown how the file begins before any of it is kept; what it raises ends the download.
    DownloadError when it cannot be had or is not what was asked for, MachineError when there is no space.
    """
    name = safe_name(name)
    if found := _kept(url, folder, name, size_bytes, sha256.lower()):
        return found
    wanted = Wanted(
        url=url, title=label or name or shown(url), page=page or shown(url), clock=clock, name=name,
        size_bytes=size_bytes, sha256=sha256.lower(), token=token or secrets.token_for(url), look=look,
    )  # fmt: skip
    visitor = Visitor(url, wanted.token)
    with Partial(folder, url) as partial:
        hashes: list[str] = []
        with report.progress(wanted.title, size_bytes, partial.size_bytes, unit="B", quiet=quiet) as bar:

            def once() -> bool:
                if not receive(wanted, visitor, partial, bar.update):
                    return False
                hashes.append(_checked(wanted, partial))
                return True

            def size() -> int:
                bar.n = partial.size_bytes
                bar.total = partial.facts.size_bytes if partial.facts else size_bytes
                bar.refresh()
                return partial.size_bytes

            persist(once, size, wanted.title, clock)
        path = folder / (partial.facts.name if partial.facts else "download")
        known = {"link": shown(url), "name": path.name, "size_bytes": partial.size_bytes, "sha256": hashes[-1]}
        partial.finish(path)
        files.write_json(_record(url, folder), known)
        return path


def fetch_json(url: str, *, label: str = "", page: str = "", clock: Clock = REAL_CLOCK) -> Any:
    """The JSON value behind a link. Arguments and errors as for `fetch`."""
    title, page = label or shown(url), page or shown(url)
    visitor = Visitor(url, secrets.token_for(url))
    found: list[Any] = []

    def once() -> bool:
        with visitor.ask({}) as answer:
            if answer.status != 200:
                refuse(answer, title, page, bool(visitor.token), clock.time())
            try:
                found.append(json.loads(answer.body.read(64 << 20)))
            except (OSError, HTTPException) as fault:
                raise Again(f"the connection was lost ({type(fault).__name__})") from None
            except (ValueError, RecursionError):
                raise DownloadError(f"{shown(url)} does not answer with JSON", f"open {page} in a browser") from None
        return True

    persist(once, lambda: 0, title, clock)
    return found[0]


def _checked(wanted: Wanted, partial: Partial) -> str:
    """The SHA-256 of what is on the disk, once it is what was asked for.

    Otherwise it is thrown away: Again if it was put together from several connections, else DownloadError.
    """
    size = partial.size_bytes
    found = files.sha256(partial.path)
    if size and wanted.size_bytes in (None, size) and wanted.sha256 in ("", found):
        return found
    pieced = partial.pieced
    partial.restart()
    if pieced:
        raise Again("the parts do not fit together")
    if not size:
        raise DownloadError(f"{wanted.title} is empty", f"open {wanted.page} in a browser")
    if wanted.size_bytes not in (None, size):
        what = f"{wanted.title} has {size} bytes, not {wanted.size_bytes}"
        raise DownloadError(what, "check the link, or run it again")
    what = f"{wanted.title} is not what it should be: its SHA-256 is {found}, not {wanted.sha256}"
    raise DownloadError(what, "it was deleted; run it again, and if that does not help take it from elsewhere")


def _kept(url: str, folder: Path, name: str, size_bytes: int | None, sha256: str) -> Path | None:
    """The file that is there already: from this link, or of that name with the right SHA-256 or size."""
    try:
        known = json.loads(_record(url, folder).read_text(encoding="utf-8"))
        path = folder / known["name"]
        same = path.stat().st_size == known["size_bytes"] and name in ("", path.name)
        if same and sha256 in ("", known["sha256"]) and size_bytes in (None, known["size_bytes"]):
            return path
    except (OSError, ValueError, TypeError, KeyError):
        pass
    path = folder / name
    if not name or not path.is_file() or not (sha256 or size_bytes):
        return None
    fits = size_bytes in (None, path.stat().st_size) and sha256 in ("", files.sha256(path))
    return path if fits else None


def _record(url: str, folder: Path) -> Path:
    """Where `folder` keeps what a link's file is called and holds."""
    return folder / f".{link_key(url)}.fetched.json"
