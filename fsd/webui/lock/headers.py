"""Headers on their way through: what one side says about the way is dropped and said anew."""

from __future__ import annotations

from collections.abc import Iterable

from fsd.webui.lock.address import Address

Headers = list[tuple[str, str]]

COOKIE = "fsd-session"
"""How the names of the lock's cookies begin; none of them, of whichever proxy, ever reaches an upstream."""

MARK = "X-Fsd-Lock"
"""By it whoever started a lock knows its answers to strangers from those of others."""

_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "expect", "http2-settings",
}  # fmt: skip
"""RFC 9110, 7.6.1: they speak of one connection. `Expect` is answered by the proxy itself."""
_ABOUT_THE_WAY = {
    "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "client-ip",
    "x-host", "x-http-host-override", "x-rewrite-url", "x-override-url", "x-script-name", "x-forwarded",
    "x-http-method", "x-http-method-override", "x-method-override", "x-gradio-server", "x-url-scheme", "front-end-https",
}  # fmt: skip
_ABOUT_THE_WAY_STARTS = ("x-forwarded-", "x-original-", "x-proxy-", "cf-", "x-envoy-", "x-scheme")
_ONLY_OURS = {"host", "authorization", "cookie", "content-length"}
_SHARED_CACHES = {"cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "surrogate-key"}
_PUBLIC = {"public", "s-maxage", "proxy-revalidate"}


def came_through(headers: dict[str, str]) -> bool:
    """Whether some tunnel or proxy passed this request on. What it says about itself is never read."""
    return any(_about_the_way(name) for name in headers)


def to_upstream(headers: Iterable[tuple[str, str]], address: Address) -> Headers:
    """The headers that the web UI gets of a request: no credentials of ours, no claims about where it came from.

    Host and X-Forwarded-Host are the address that the browser used, one of those that the guard knows: Gradio builds
    its page's links from them. Content-Length is left out: the body's sender sets it.
    """
    given = list(headers)
    dropped = _HOP_BY_HOP | _ONLY_OURS | _named_by_connection(given)
    # a name with "_" is some servers' other spelling of one with "-"
    kept = [
        (name, value)
        for name, value in given
        if name.lower() not in dropped and "_" not in name and not _about_the_way(name.lower())
    ]
    if cookies := "; ".join(foreign_cookies(given)):
        kept.append(("Cookie", cookies))
    return [
        *kept,
        ("Host", address.host),
        ("X-Forwarded-Host", address.host),
        ("X-Forwarded-Proto", address.scheme),
    ]


def to_client(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers that the browser gets of an answer: kept out of shared caches, closed to other sites.

    A tunnel's edge stores files by their ending, where the answer allows it, and gives them to strangers. Gradio lets
    any site read its answers once its own host is not this machine.
    """
    given = list(headers)
    dropped = _HOP_BY_HOP | _SHARED_CACHES | _named_by_connection(given) | {"cache-control"}
    kept = [
        (name, value)
        for name, value in given
        if (low := name.lower()) not in dropped
        and not low.startswith("access-control-")
        and not (low == "set-cookie" and _is_ours(value))
    ]
    asked = ", ".join(value for name, value in given if name.lower() == "cache-control")
    return [*kept, ("Cache-Control", _private(asked))]


def cookies(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Every value that a request gives for a cookie, several when another site on this host set one too."""
    found = (part.strip().partition("=") for value in _all(headers, "cookie") for part in value.split(";"))
    return [value.strip() for key, _, value in found if key == name]


def foreign_cookies(headers: Iterable[tuple[str, str]]) -> list[str]:
    """The "name=value" pairs of a request that are not the lock's."""
    parts = [part.strip() for value in _all(headers, "cookie") for part in value.split(";")]
    return [part for part in parts if part and not _is_ours(part)]


def _all(headers: Iterable[tuple[str, str]], wanted: str) -> list[str]:
    return [value for name, value in headers if name.lower() == wanted]


def _is_ours(pair: str) -> bool:
    return pair.strip().lower().removeprefix("__host-").removeprefix("__secure-").startswith(COOKIE)


def _about_the_way(name: str) -> bool:
    return name in _ABOUT_THE_WAY or name.startswith(_ABOUT_THE_WAY_STARTS)


def _named_by_connection(headers: Headers) -> set[str]:
    return {part.strip().lower() for value in _all(headers, "connection") for part in value.split(",")}


def _private(cache_control: str) -> str:
    parts = [part.strip() for part in cache_control.split(",") if part.strip()]
    parts = [part for part in parts if part.partition("=")[0].strip().lower() not in _PUBLIC]
    closed = any(part.partition("=")[0].strip().lower() in ("private", "no-store") for part in parts)
    return ", ".join(parts if closed else ["private", *parts])
