"""Request targets: which are read at all, which nobody gets."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

LOGIN, LOGOUT = "/fsd/login", "/fsd/logout"

CLOSED = (
    "/internal/sysinfo*",  # settings, packages, command line and COMMANDLINE_ARGS in clear
    "/internal/profile-startup",
    "/docs",  # lists of routes: a map for intruders; the API's users have its documentation elsewhere
    "/redoc",
    "/openapi.json",
    "/sdapi/v1/server-kill",  # fsd starts and stops the server
    "/sdapi/v1/server-restart",
    "/sdapi/v1/server-stop",
    "/proxy=*",  # Gradio fetches other hosts' pages
    "/dev",  # Gradio's reload, its statistics, and pages that write and run code
    "/monitoring",
    "/profiling",
    "/vibe-*",
    "/undo-vibe-edit",
)
"""Closed to those who are logged in too: nothing that a person or an API's client does needs them. `*`: any ending.

Installing extensions has no route of its own (it is one of the page's functions): the UI's flags close it.
"""

_TARGET = re.compile(r"/(?!/)[!-~]*")
_SLASH = re.compile(r"%(2f|5c)|\\", re.IGNORECASE)
_ESCAPE = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-f]{2})", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOTS = re.compile(r"(^|[/=;:])\.\.($|[/;?])|/\.($|[/;])")
_PREFIX = "/gradio_api"


class BadTarget(ValueError):
    """A request target that is never passed on: its text says why, not what was asked."""


def read_path(target: str) -> str:
    """The decoded path of a request target as it stood on the wire ("/a%20b?c=d" -> "/a b").

    BadTarget for whatever two programs may read in two ways: absolute addresses, `//` at the start, dot segments,
    encoded slashes, backslashes, double encoding, control characters, what is not UTF-8. The query is not looked at
    beyond its characters.
    """
    raw = target.partition("?")[0]
    if not _TARGET.fullmatch(target) or "#" in target:
        raise BadTarget("the address is not a path")
    if _SLASH.search(raw):
        raise BadTarget("the address has an encoded slash or a backslash")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as fault:
        raise BadTarget("the address is not UTF-8") from fault
    if _BAD_ESCAPE.search(raw) or _ESCAPE.search(path) or _CONTROL.search(path):
        raise BadTarget("the address is encoded twice or wrongly")
    if _DOTS.search(unicodedata.normalize("NFKC", path)):
        raise BadTarget("the address has dot segments")
    return path


def is_closed(path: str) -> bool:
    """Whether a decoded path is closed to everybody, however its letters and slashes are written."""
    key = _key(path).removeprefix(_PREFIX)
    return any(key.startswith(name[:-1]) if name.endswith("*") else _is_under(key, name) for name in CLOSED)


def own_path(path: str) -> str:
    """LOGIN or LOGOUT if a decoded path is one of the proxy's own pages, else ""."""
    return path if path in (LOGIN, LOGOUT) else ""


def safe_next(target: str) -> str:
    """Where to go after logging in: the given path on this host, or "/" when it could lead anywhere else."""
    try:
        path = read_path(target)
    except BadTarget:
        return "/"
    return "/" if own_path(path) or is_closed(path) else target


def _key(path: str) -> str:
    parts = unicodedata.normalize("NFKC", path).lower().split("/")
    return "/" + "/".join(part.strip() for part in parts if part.strip())


def _is_under(key: str, start: str) -> bool:
    return key == start or key.startswith(f"{start}/")
