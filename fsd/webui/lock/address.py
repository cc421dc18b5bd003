"""The addresses that a browser may use: this machine's, and those that a tunnel was given."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from fsd.errors import MachineError

_HOST = re.compile(r"([a-z0-9_]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:\d{1,5})?")
_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Address:
    """A scheme and a host with its port if it is not the scheme's own, in small letters."""

    scheme: str
    host: str

    @property
    def origin(self) -> str:
        """As browsers write it in `Origin`."""
        return f"{self.scheme}://{self.host}"


def parse(url: str) -> Address:
    """The address of a public URL such as "https://some-words.trycloudflare.com/".

    MachineError when it is no http or https address, or has a path: pages are built for the top of a host.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # as for "https://["
        parts = urlsplit("")
    host = parts.netloc.lower().removesuffix(_PORTS.get(parts.scheme, "-"))
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or parts.path not in ("", "/") or parts.query:
        raise MachineError(f"{url!r} is not the address of a host", "give one like https://example.trycloudflare.com")
    return Address(parts.scheme, host)


def resolve(host: str, came_through: bool, public: Iterable[Address]) -> Address | None:
    """The address that the browser used for a request, None when it is none of ours.

    host: the request's Host. public: the newest last. An address of this machine is http, unless something passed the
    request on: then it is a tunnel that writes its own idea of Host (as Colab's does), and the newest public one is
    meant. A name that only resolves to this machine is refused, an IP address is not: no site can be called that.
    """
    host = host.lower()
    known = {address.host: address for address in public}
    plain = host.removesuffix(":443").removesuffix(":80")
    if found := known.get(host) or known.get(plain):
        return found
    if not _HOST.fullmatch(host) or not _is_this_machine(host):
        return None
    return list(known.values())[-1] if came_through and known else Address("http", host.removesuffix(":80"))


def _is_this_machine(host: str) -> bool:
    name = re.sub(r":\d+$", "", host).strip("[]")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private
