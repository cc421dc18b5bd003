"""Web pages that come where a file was meant: a login, a notice, or Google Drive's "cannot scan for viruses"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

MOST_BYTES = 1 << 18
_LOGIN = re.compile(r"(^|[/._-])(log-?in|sign-?in|servicelogin|sso|oauth2?)([/._-]|$)", re.IGNORECASE)
_START = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True)
class Page:
    """A page. confirm: the address behind its "download anyway" button, or ""."""

    title: str
    asks_to_sign_in: bool
    confirm: str = ""


def is_page(content_type: str, start: bytes) -> bool:
    """Whether an answer is a web page by its type, or by its first bytes where the type says nothing of use."""
    return content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml") or bool(
        _START.match(start[:4096])
    )


def read_page(body: bytes, url: str) -> Page:
    """What the page at `url` is. A title of at most 80 letters, without control characters."""
    found = _Reader()
    found.feed(body.decode("utf-8", "replace"))
    title = " ".join(re.sub(r"[^ -~\u00a1-\uffff]", " ", found.title).split())[:80]
    place = urlsplit(url)
    asks = found.password or bool(_LOGIN.search(place.path)) or (place.hostname or "").startswith("accounts.")
    return Page(title, asks, _confirm_link(found, url))


def _confirm_link(page: _Reader, url: str) -> str:
    """Where the page's form or link leads, if it is one to confirm a download and stays with the site."""
    target = urljoin(url, page.link) if page.link else ""
    if page.action and "confirm" in page.hidden:
        bare, _, query = urljoin(url, page.action).partition("?")
        target = f"{bare}?{'&'.join(filter(None, (query, urlencode(page.hidden))))}"
    here, there = urlsplit(url), urlsplit(target)
    google = all((place.hostname or "").endswith(".google.com") for place in (here, there))
    stays = (here.scheme, here.netloc) == (there.scheme, there.netloc) or (google and there.scheme == "https")
    return target if target and stays else ""


class _Reader(HTMLParser):
    """Collects a page's title, its password field, and the form or link that confirms a download."""

    def __init__(self) -> None:
        super().__init__()
        self.title = self.action = self.link = ""
        self.hidden: dict[str, str] = {}
        self.password = False
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "title":
            self._inside = "title"
        elif tag == "form":
            confirms = given.get("id") in ("download-form", "downloadForm")
            self._inside, self.action = ("form", given.get("action", "")) if confirms else ("", self.action)
        elif tag == "input" and given.get("type") == "password":
            self.password = True
        elif tag == "input" and self._inside == "form" and given.get("name"):
            self.hidden[given["name"]] = given.get("value", "")
        elif tag == "a" and given.get("id") == "uc-download-link":
            self.link = given.get("href", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data
