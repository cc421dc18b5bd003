"""What a web UI is to us: a command, the port it answers at, what its lines mean."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from fsd.webui.logs import Fatal, Phase

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Server:
    """What to start. title: for people. environment: the whole of it. folder: where it runs.

    ready: the line after which it may be asked, and not before; ping: the path that then answers 200.
    phases, fatal: what its lines mean. handed: the secrets that it needs, as `handover.held` gives them.
    """

    title: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    port: int
    phases: tuple[Phase, ...]
    ready: str
    fatal: tuple[Fatal, ...]
    ping: str
    folder: Path
    handed: dict[str, str] = field(default_factory=dict, repr=False)


def free_port() -> int:
    """A port of this machine that nobody listens at, as the system gives it."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens at a port of this machine."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) != 0


def status_of(url: str, headers: dict[str, str] | None = None) -> int:
    """The HTTP status that an address answers with; 0 for no answer."""
    return headers_of(url, headers or {})[0]


class _StayHere(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def headers_of(url: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """(status, headers by lower-case name) of the answer to a GET; (0, {}) for none. This machine is asked directly.

    No redirect is followed: what was sent is for that address alone.
    """
    handlers = [ProxyHandler({})] if urlsplit(url).hostname == "127.0.0.1" else []
    try:
        with build_opener(_StayHere, *handlers).open(Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:
            return int(answer.status), {name.lower(): value for name, value in answer.headers.items()}
    except HTTPError as refused:
        refused.close()
        return refused.code, {name.lower(): value for name, value in refused.headers.items()}
    except (OSError, HTTPException):  # URLError, and a connection that broke
        return 0, {}
