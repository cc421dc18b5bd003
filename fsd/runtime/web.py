"""One answer from the web: redirects followed by hand, so that a token never goes to another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, InvalidURL
from http.cookiejar import CookieJar
from ssl import SSLCertVerificationError
from typing import IO, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit, urlunsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

from fsd import __version__
from fsd.errors import DownloadError
from fsd.runtime import proxies, secrets
from fsd.runtime.retry import Again

TIMEOUT_S = 60.0
_HOPS = 10
_PASSES = {408: "a timeout", 425: "too early", 429: "too many requests"}
_REDIRECTS = (301, 302, 303, 307, 308)


class Gone(DownloadError):
    """What was asked for is not there, or not any more."""


@dataclass(frozen=True)
class Answer:
    """What a server said; `body` is still to be read. url: after redirects."""

    status: int
    url: str
    headers: Message
    body: IO[bytes]

    def header(self, name: str) -> str:
        return str(self.headers.get(name, ""))


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class Visitor:
    """Asks for one link, again and again if need be: keeps cookies, shows the token to the link's own host alone."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = sendable(url)
        self.token = token
        self._opener = build_opener(_Stay, HTTPCookieProcessor(CookieJar()))

    @contextmanager
    def ask(self, headers: dict[str, str], url: str = "") -> Iterator[Answer]:
        """The answer behind all redirects, closed afterwards. Again when there is none, DownloadError for a bad link."""
        address = url or self.url
        for _ in range(_HOPS):
            own = self.token and origin(address) == origin(self.url)
            with self._send(address, headers | ({"Authorization": f"Bearer {self.token}"} if own else {})) as answer:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                address = _next(address, answer.header("Location"))
        raise DownloadError(f"{shown(self.url)} leads in circles", "check the link in a browser")

    @contextmanager
    def _send(self, url: str, headers: dict[str, str]) -> Iterator[Answer]:
        asked = Request(url, headers={"User-Agent": f"fsd/{__version__}", "Accept": "*/*"} | headers)
        if wrong := proxies.fault(url):
            raise DownloadError(wrong, proxies.remedy(url))
        try:
            found = self._opener.open(asked, timeout=TIMEOUT_S)
        except HTTPError as refused:
            found = refused
        except InvalidURL:
            raise DownloadError(f"{shown(url)} is not a link", "check the link") from None
        except (OSError, HTTPException) as fault:
            raise _unreachable(url, fault) from None
        with found:
            yield Answer(found.status, url, found.headers, found)


def sendable(url: str) -> str:
    """`url` with everything quoted that a request cannot carry; DownloadError when it is no http(s) link."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").encode("idna").decode()
        host = f"[{host}]" if ":" in host else host
        port = f":{parts.port}" if parts.port else ""
    except (ValueError, UnicodeError):
        raise DownloadError(f"{shown(url)} is not a link", "check the link") from None
    if parts.scheme not in ("http", "https") or not host:
        raise DownloadError(f"{shown(url)} is not a link", "give one that begins with https://")
    if parts.username or parts.password:
        hint = "take them out of the link; download the file in a browser where you are signed in"
        raise DownloadError(f"the link to {host} holds a user name or a password", hint)
    path, query = (quote(text, safe="/%:=&?~+!$,;'@()*[]") for text in (parts.path, parts.query))
    return urlunsplit((parts.scheme, host + port, path or "/", query, ""))


def shown(url: str) -> str:
    """`url` as errors may show it: without the query and the user, which may hold secrets."""
    scheme, found, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    return (scheme + found + host + slash + path).partition("?")[0].partition("#")[0]


def origin(url: str) -> tuple[str, str, int]:
    """What a token belongs to: scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def refuse(answer: Answer, what: str, page: str, had_token: bool, now_s: float) -> NoReturn:
    """Raise what an answer other than a file means: Again where it may pass, else one DownloadError a kind.

    page: where a person can look at what was asked for, and accept its licence. now_s: for Retry-After's dates.
    """
    host = urlsplit(answer.url).hostname
    if answer.status in _PASSES or answer.status >= 500:
        reason = _PASSES.get(answer.status, f"a fault of its own, {answer.status}")
        raise Again(f"{host} answers with {reason}", _retry_after_s(answer.header("Retry-After"), now_s))
    if answer.status == 401:
        said = "does not accept the token" if had_token else "wants a token"
        raise DownloadError(f"{host} {said} for {what} (401)", secrets.how_to_sign_in(page))
    if answer.status == 403:
        hint = f"open {page} signed in and accept the licence or terms there; {secrets.how_to_sign_in(page)}"
        said = "its licence is not accepted, or it is not for everybody"
        raise DownloadError(f"{host} does not let you have {what}: {said} (403)", hint)
    if answer.status == 407:
        raise DownloadError(
            f"the proxy wants a login before it asks {host} for {what} (407)", proxies.remedy(answer.url)
        )
    if answer.status in (404, 410):
        hint = f"open {page} in a browser; if nothing is there either, ask for a new link, or take it from elsewhere"
        raise Gone(f"{what} is not, or no longer, at {host} ({answer.status})", hint)
    raise DownloadError(f"{host} does not give {what}: it answers with {answer.status}", f"open {page} in a browser")


def _next(url: str, location: str) -> str:
    """Where a redirect leads; never from https to anything else."""
    target = urljoin(url, location)
    if not location or urlsplit(target).scheme not in ("https", urlsplit(url).scheme):
        raise DownloadError(f"{shown(url)} leads to {shown(target)}, which is not safe", "check the link in a browser")
    return sendable(target)


def _unreachable(url: str, fault: Exception) -> Exception:
    """What it means that no answer came: Again, or DownloadError where another try cannot help."""
    reason = fault.reason if isinstance(fault, URLError) and isinstance(fault.reason, Exception) else fault
    host = urlsplit(url).hostname
    if isinstance(reason, SSLCertVerificationError):
        return DownloadError(f"{host} has no valid certificate", "check the link and the clock of this machine")
    proxy, network = (
        proxies.variable(url),
        "see that this machine's network works and that the link is right, then run it again",
    )
    said = "does not answer in time" if isinstance(reason, TimeoutError) else f"cannot be reached ({_words(reason)})"
    return Again(
        f"{host} {said}{f' through the proxy of {proxy}' if proxy else ''}", hint=proxies.remedy(url) or network
    )


def _words(fault: Exception) -> str:
    """A fault in a few words; what an HTTP library says may hold anything, what the system says does not."""
    tunnel = re.search(r"Tunnel connection failed: (\d+)", str(fault))
    proxys = f"the proxy answers with {tunnel[1]}" if tunnel else ""
    return proxys or (isinstance(fault, OSError) and fault.strerror) or type(fault).__name__


def _retry_after_s(header: str, now_s: float) -> float:
    """Seconds from a Retry-After header (RFC 9110, 10.2.3): a number, or a date."""
    try:
        return max(0.0, float(header) if header.isdigit() else parsedate_to_datetime(header).timestamp() - now_s)
    except (TypeError, ValueError, OverflowError):
        return 0.0
