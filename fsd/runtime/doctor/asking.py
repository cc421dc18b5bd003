"""Whether every download source is still there: HEAD requests, several at a time; 401, 403 and 404 told apart."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from ssl import SSLCertVerificationError
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from fsd import __version__
from fsd.errors import FsdError, MachineError
from fsd.runtime import proxies, secrets, web
from fsd.runtime.doctor.sources import Place

_AT_ONCE = 16
_HOPS = 5
_TIMEOUT_S = 10.0
_FIRST_S, _OTHERS_S = 15.0, 30.0
"""For one address of every host, and for all the others. Where a name server hangs, no timeout of a connection helps."""
THERE, NO_TOKEN, REFUSED, NOT_ALLOWED = "there", "401", "401 with a token", "403"
GONE, OTHER, UNREACHABLE = "404", "other", "unreachable"
MEANING = {
    NO_TOKEN: "wants a token (401)",
    REFUSED: "does not accept the token (401)",
    NOT_ALLOWED: "its licence is not accepted, or it is not for everybody (403)",
    GONE: "gone (404)",
    OTHER: "answers with a fault of its own",
    UNREACHABLE: "cannot be reached",
}
"""What a state means for people."""


@dataclass(frozen=True)
class Checked:
    """What each mirror of a place answered: (address, state) in order. The addresses hold no secrets."""

    place: Place
    answers: tuple[tuple[str, str], ...]

    @property
    def usable(self) -> bool:
        """Whether a mirror has it."""
        return any(state == THERE for _, state in self.answers)


def check(places: Iterable[Place], tokens: Mapping[str, str]) -> tuple[list[Checked], dict[str, str]]:
    """What every mirror of every place answers, and why each dead host is dead; in less than a minute.

    An address is asked once; a host that is dead is not asked again. tokens: the values by their names in
    `secrets.NAMES`, for the sites that they belong to.
    """
    listed = list(places)
    asker = _Asker(tokens)
    asker.ask_all(dict.fromkeys(url for place in listed for url in place.urls))
    states = dict(asker.states)  # as it is now: what is still under way does not count
    checked = [
        Checked(place, tuple((web.shown(url), states.get(url, UNREACHABLE)) for url in place.urls)) for place in listed
    ]
    return checked, dict(asker.dead)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class _Asker:
    """Asks for addresses' heads; each token goes to its own site alone. states: by address. dead: host -> why."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self.states: dict[str, str] = {}
        self.dead: dict[str, str] = {}
        self._tokens = tokens

    def ask_all(self, urls: Iterable[str]) -> None:
        """Ask for all of them: one of every host, and then, unless the host is dead, the others."""
        hosts: dict[str, list[str]] = {}
        for url in urls:
            hosts.setdefault(_host(url), []).append(url)
        self._ask([first for first, *_ in hosts.values()], _FIRST_S)
        for host, (first, *_) in hosts.items():
            if first not in self.states:
                self.dead.setdefault(host, "no answer in time")
        self._ask([url for _, *others in hosts.values() for url in others], _OTHERS_S)

    def _ask(self, urls: Iterable[str], limit_s: float) -> None:
        """Ask several at a time, until all have answered or the time is over."""
        waiting, until_s = deque(urls), time.monotonic() + limit_s

        def work() -> None:
            while waiting:
                try:
                    url = waiting.popleft()
                except IndexError:  # another was quicker
                    return
                self.states[url] = self.state_of(url)

        threads = [Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(waiting)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        waiting.clear()

    def state_of(self, url: str) -> str:
        """The state of one address: a key of MEANING, or THERE. A redirect elsewhere means that the file is there."""
        try:
            start = url = web.sendable(url)
            for _ in range(_HOPS):
                if _host(url) in self.dead:
                    return UNREACHABLE
                token = self._token(url)
                status, headers = _head(url, token)
                if status not in (301, 302, 303, 307, 308):
                    return _state(status, headers, bool(token))
                url = web.sendable(urljoin(url, headers.get("Location", "")))
                if web.origin(url) != web.origin(start):
                    return THERE
            return OTHER
        except (OSError, HTTPException, ValueError, FsdError) as fault:
            self.dead.setdefault(_host(url), _why(fault))
            return UNREACHABLE

    def _token(self, url: str) -> str:
        site = secrets.site_of(url)
        return self._tokens.get(site.token, "") if site and urlsplit(url).scheme == "https" else ""


def _head(url: str, token: str) -> tuple[int, Mapping[str, str] | Message]:
    if wrong := proxies.fault(url):
        raise MachineError(wrong)
    headers = {"User-Agent": f"fsd/{__version__}"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with build_opener(_Stay).open(Request(url, headers=headers, method="HEAD"), timeout=_TIMEOUT_S) as answer:
            return answer.status, answer.headers
    except HTTPError as refused:
        with refused:
            return refused.code, refused.headers


def _state(status: int, headers: Mapping[str, str] | Message, had_token: bool) -> str:
    """What a status means. The hub says 401 for what is gone too, where no token was sent: its error code tells."""
    code = headers.get("X-Error-Code")
    if code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound") or status in (404, 410):
        return GONE
    if status == 401 and had_token:
        return NOT_ALLOWED if code == "GatedRepo" else REFUSED
    return THERE if status < 300 else {401: NO_TOKEN, 403: NOT_ALLOWED}.get(status, OTHER)


def _why(fault: Exception) -> str:
    """Why no answer came, in a few words of ours or the system's: what a library says may hold anything."""
    reason = fault.reason if isinstance(fault, URLError) and isinstance(fault.reason, Exception) else fault
    if isinstance(reason, FsdError):
        return reason.message
    if isinstance(reason, SSLCertVerificationError):
        return "its certificate is not valid here"
    if isinstance(reason, socket.gaierror):
        return "no name server knows it"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if " 407 " in f"{reason} ":
        return "the proxy wants a login (407)"
    return (isinstance(reason, OSError) and reason.strerror) or type(reason).__name__
