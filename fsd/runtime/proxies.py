"""The proxy that requests go through, as errors name it: by its variable, never by its address, which may hold a login."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

_HOST = re.compile(r"[\w.-]+|[0-9a-f:]+", re.IGNORECASE)


def variable(url: str = "") -> str:
    """The environment variable that names the proxy for a link, or for any of https; "" where no proxy is used."""
    parts = urlsplit(url or "https:")
    if parts.hostname and proxy_bypass(parts.hostname):
        return ""
    names = (f"{parts.scheme}_proxy", f"{parts.scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    return next((name for name in names if os.environ.get(name, "").strip()), "")


def fault(url: str = "") -> str:
    """What is wrong with the address of that proxy, without showing it; "" if it is one, or there is none."""
    name = variable(url)
    value = os.environ.get(name, "").strip()
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        plain = bool(_HOST.fullmatch(parts.hostname or "")) and parts.port != 0
    except ValueError:
        plain = False
    if not name or (plain and parts.scheme in ("http", "https")):
        return ""
    if plain:
        return f"{name} names a proxy of the kind {parts.scheme}, which fsd cannot use"
    return f"what {name} holds is no proxy's address"


def remedy(url: str = "") -> str:
    """What to do when requests fail that go through a proxy; "" where none does."""
    if not (name := variable(url)):
        return ""
    return f"see that {name} is right (http://HOST:PORT) and that this proxy answers, or unset it, then run this again"
