"""A request, who made it, and why it goes no further."""

from __future__ import annotations

from dataclasses import dataclass, field

from fsd.webui.lock.address import Address
from fsd.webui.lock.headers import Headers


class Refused(Exception):
    """A request that goes no further. status: of HTTP. text: for people. wait_s: when it may come again, 0 any time."""

    def __init__(self, status: int, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.text, self.wait_s = status, text, wait_s


@dataclass(frozen=True)
class Asked:
    """A request as it stood on the wire. target: path and query, undecoded. peer: who opened the connection."""

    method: str
    target: str = field(repr=False)
    pairs: Headers = field(repr=False)
    peer: str = ""
    headers: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", {name.lower(): value for name, value in self.pairs})

    @property
    def client(self) -> str:
        """A name to count wrong tries under. Behind a tunnel it is what the tunnel says: good for that and no more."""
        return self.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()[:64] or self.peer


@dataclass(frozen=True)
class Visitor:
    """Who asked, through which address, for which decoded path. session: the key of the cookie's session, or None."""

    address: Address
    path: str
    session: bytes | None = field(default=None, repr=False)
    by_password: bool = False

    @property
    def is_stranger(self) -> bool:
        """Whether neither a cookie nor a password was right."""
        return self.session is None and not self.by_password
