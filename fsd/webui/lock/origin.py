"""Requests that another site makes a browser send: the browser adds the cookie, so they are told apart by their origin.

Origin where the browser sends it, else Fetch Metadata (Sec-Fetch-*); no script can write either.
"""

from __future__ import annotations


def is_safe(method: str, headers: dict[str, str]) -> bool:
    """Whether a request only reads: GET or HEAD, and no websocket."""
    return method in ("GET", "HEAD") and "websocket" not in headers.get("upgrade", "").lower()


def is_from_elsewhere(method: str, headers: dict[str, str], own: str, by_cookie: bool) -> bool:
    """Whether a request was, or may have been, made by a page that is not of `own` origin.

    headers: by their names in small letters. A person may come by a link from anywhere; a page of another site may
    load nothing. by_cookie: what changes something must then prove where it comes from; programs with a password say
    nothing about it and may.
    """
    origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "").lower()
    if origin not in ("", "null"):
        return origin.lower() != own
    if site == "same-origin":  # a form sends "null" where its page's policy hides the referrer
        return False
    if origin or site:
        return bool(origin) or not is_safe(method, headers) or not (site == "none" or _opens_a_page(headers))
    return by_cookie and not is_safe(method, headers)


def _opens_a_page(headers: dict[str, str]) -> bool:
    return headers.get("sec-fetch-mode", "").lower() == "navigate" and headers.get("sec-fetch-dest", "") == "document"
