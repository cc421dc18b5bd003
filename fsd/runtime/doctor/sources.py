"""Whether every download source is still there: HEAD requests, several at a time; 401, 403 and 404 told apart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from fsd import __version__
from fsd.errors import FsdError
from fsd.families import FAMILIES
from fsd.families.controlnets import CONTROLNETS
from fsd.families.family import Source
from fsd.families.preprocessors import PREPROCESSORS
from fsd.runtime import secrets, web

_AT_ONCE = 16
_HOPS = 5
_TIMEOUT_S = 10.0
THERE, NO_TOKEN, NOT_ALLOWED, GONE, OTHER, UNREACHABLE = "there", "401", "403", "404", "other", "unreachable"
MEANING = {
    NO_TOKEN: "wants a token (401)",
    NOT_ALLOWED: "its licence is not accepted, or it is not for everybody (403)",
    GONE: "gone (404)",
    OTHER: "answers with a fault of its own",
    UNREACHABLE: "cannot be reached",
}
"""What a state means for people."""


@dataclass(frozen=True)
class Place:
    """A thing that is downloaded, and its mirrors in the order tried. kind: the group that it is counted in."""

    kind: str
    name: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """What each mirror of a place answered: (address, state) in order."""

    place: Place
    answers: tuple[tuple[str, str], ...]

    @property
    def usable(self) -> bool:
        """Whether a mirror has it."""
        return any(state == THERE for _, state in self.answers)


def known_places() -> list[Place]:
    """The base models, the ControlNets and their preprocessors' weights, each with all its mirrors."""
    places = [Place("base models", name, _addresses(family.sources)) for name, family in FAMILIES.items()]
    places += [Place("ControlNets", one.name, _addresses(one.sources)) for one in CONTROLNETS]
    every = (weights for several in PREPROCESSORS.values() for one in several for weights in one.weights)
    annotators = {weights.name: weights for weights in every}
    places += [Place("preprocessors", name, _addresses(one.sources)) for name, one in annotators.items()]
    return [place for place in places if place.urls]


def hub_address(source: Source) -> str:
    """The address of a source's file on the hub, of a folder's index otherwise."""
    file = source.file.name if source.file else "model_index.json"
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return f"{hub}/{source.repository}/resolve/{source.revision}/{quote(file)}"


def check(places: Iterable[Place], tokens: Mapping[str, str]) -> list[Checked]:
    """What every mirror of every place answers, asked once an address; a host that is dead is not asked again.

    tokens: the values by their names in `secrets.NAMES`, for the sites that they belong to.
    """
    listed = list(places)
    asked = dict.fromkeys(url for place in listed for url in place.urls)
    asker = _Asker(tokens)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        state = dict(zip(asked, pool.map(asker.state_of, asked), strict=True))
    return [Checked(place, tuple((url, state[url]) for url in place.urls)) for place in listed]


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class _Asker:
    """Asks for addresses' heads; each token goes to its own site alone. tokens: value by name."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._dead: set[str] = set()
        self._tokens = tokens

    def state_of(self, url: str) -> str:
        """The state of one address: a key of MEANING, or THERE. A redirect elsewhere means that the file is there."""
        try:
            start = url = web.sendable(url)
            for _ in range(_HOPS):
                if urlsplit(url).netloc in self._dead:
                    return UNREACHABLE
                status, headers = _head(url, self._token(url))
                if status not in (301, 302, 303, 307, 308):
                    return _state(status, headers)
                url = web.sendable(urljoin(url, headers.get("Location", "")))
                if web.origin(url) != web.origin(start):
                    return THERE
            return OTHER
        except (OSError, HTTPException, ValueError, FsdError):
            self._dead.add(urlsplit(url).netloc)
            return UNREACHABLE

    def _token(self, url: str) -> str:
        site = secrets.site_of(url)
        return self._tokens.get(site.token, "") if site and urlsplit(url).scheme == "https" else ""


def _head(url: str, token: str) -> tuple[int, Mapping[str, str] | Message]:
    headers = {"User-Agent": f"fsd/{__version__}"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with build_opener(_Stay).open(Request(url, headers=headers, method="HEAD"), timeout=_TIMEOUT_S) as answer:
            return answer.status, answer.headers
    except HTTPError as refused:
        with refused:
            return refused.code, refused.headers


def _state(status: int, headers: Mapping[str, str] | Message) -> str:
    """What a status means. The hub says 401 for what is gone too, where no token was sent: its error code tells."""
    if headers.get("X-Error-Code") in ("RepoNotFound", "RevisionNotFound", "EntryNotFound") or status in (404, 410):
        return GONE
    return THERE if status < 300 else {401: NO_TOKEN, 403: NOT_ALLOWED}.get(status, OTHER)


def _addresses(sources: Iterable[Source]) -> tuple[str, ...]:
    return tuple(hub_address(source) for source in sources if not source.package)


def faulty(checked: Iterable[Checked]) -> Iterator[tuple[Checked, str, str]]:
    """(place, address, state) of every mirror that is not there."""
    for one in checked:
        for url, state in one.answers:
            if state != THERE:
                yield one, url, state
