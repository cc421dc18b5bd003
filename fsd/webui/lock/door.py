"""What the proxy answers to each request: the web UI's answer, the lock's own pages, or a refusal."""

from __future__ import annotations

import asyncio
import math
import re
from urllib.parse import parse_qs

from aiohttp import web

from fsd.webui.lock import pages, paths
from fsd.webui.lock.guard import Guard
from fsd.webui.lock.headers import MARK
from fsd.webui.lock.origin import is_safe
from fsd.webui.lock.relay import UpstreamLost, new_session, relay
from fsd.webui.lock.request import Asked, Refused, Visitor
from fsd.webui.lock.sockets import relay_socket

_LARGEST_FORM_BYTES = 8192
_FORM_S = 10.0
_PRIVATE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_STAY_ENCRYPTED = {"Strict-Transport-Security": "max-age=31536000"}
_BASIC = 'Basic realm="fsd", charset="UTF-8"'
_TOKEN = re.compile(r"[?&]token=([^&\s#]+)")


class Door:
    """Answers requests. title: stands on the lock's pages. port: the web UI's, None while there is none.

    mark: said to strangers, so that whoever started this lock knows it from others.
    """

    def __init__(self, guard: Guard, title: str, mark: str = "") -> None:
        self.guard, self.title, self.mark = guard, title, mark
        self.port: int | None = None
        self._session = new_session()
        self._inside: dict[bytes, set[asyncio.Task[object]]] = {}

    async def close(self) -> None:
        """Let go of the web UI."""
        await self._session.close()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request, whatever is wrong with it."""
        asked = Asked(request.method, request.raw_path, list(request.headers.items()), request.remote or "")
        try:
            visitor = self.guard.admit(asked)
            answer = await self._answer(request, asked, visitor)
            if visitor.address.scheme == "https" and not answer.prepared:  # what the web UI says has gone out as it is
                answer.headers.update(_STAY_ENCRYPTED)
            return answer
        except Refused as refusal:
            return self._refusal(asked, refusal)

    async def _answer(self, request: web.BaseRequest, asked: Asked, visitor: Visitor) -> web.StreamResponse:
        if own := paths.own_path(visitor.path):
            return await (self._login if own == paths.LOGIN else self._logout)(request, asked, visitor)
        if visitor.is_stranger:
            return self._to_stranger(asked, visitor)
        if paths.is_closed(visitor.path):
            raise Refused(404, "this address is not served")
        return await self._let_in(request, asked, visitor)

    async def _let_in(self, request: web.BaseRequest, asked: Asked, visitor: Visitor) -> web.StreamResponse:
        if self.port is None:
            return self._not_there(asked, "is starting")
        go = relay_socket if "websocket" in asked.headers.get("upgrade", "").lower() else relay
        with _Inside(self._inside, visitor.session):
            try:
                return await go(self._session, request, asked.target, visitor.address, self.port)
            except UpstreamLost:
                return self._not_there(asked, "does not answer just now")

    async def _login(self, request: web.BaseRequest, asked: Asked, visitor: Visitor) -> web.StreamResponse:
        if asked.method == "POST":
            fields = parse_qs((await _form(request)).decode("utf-8", "replace"))
        elif is_safe(asked.method, asked.headers):
            fields = parse_qs(asked.target.partition("?")[2])
        else:
            raise Refused(405, "this method is not served")
        next_path = paths.safe_next(fields.get("next", ["/"])[0])
        secret = fields.get("token", fields.get("secret", [""]))[0].strip()
        if visitor.session and (asked.method != "POST" or not secret):
            return self._go(next_path)
        if not secret:
            return self._page(200, pages.login(self.title, "", next_path))
        if asked.method != "POST":  # messengers look at links too: only the page's own form uses the token up
            return self._page(200, pages.link(self.title, secret, next_path))
        if link := _TOKEN.search(secret):
            secret = link[1]
        try:
            value = self.guard.log_in(secret, asked.client, visitor.address)
        except Refused as refusal:
            if visitor.session:
                return self._go(next_path)
            page = pages.login(self.title, refusal.text, next_path)
            return self._page(refusal.status, page, _retry_after(refusal.wait_s))
        return self._go(next_path, {"Set-Cookie": self.guard.set_cookie(visitor.address, value)})

    async def _logout(self, request: web.BaseRequest, asked: Asked, visitor: Visitor) -> web.StreamResponse:
        by_link = asked.method == "GET" and asked.headers.get("sec-fetch-site") in ("same-origin", "none")
        if asked.method != "POST" and not by_link and visitor.session:
            return self._page(200, pages.log_out(self.title))
        if visitor.session:
            self.guard.log_out(visitor.session)
            for task in list(self._inside.get(visitor.session, ())):
                task.cancel()
        page = pages.login(self.title, "You are logged out.", "/")
        return self._page(200, page, {"Set-Cookie": self.guard.set_cookie(visitor.address, "")})

    def _to_stranger(self, asked: Asked, visitor: Visitor) -> web.Response:
        if _shows_pages(asked):
            return self._page(401, pages.login(self.title, "", paths.safe_next(asked.target)))
        if asked.headers.get("sec-fetch-dest") == "manifest":  # asked for without the cookie, with every page
            return web.json_response({}, headers=_PRIVATE)
        # a browser that is told "Basic" asks its user for a password, for ever, where a page's script asked
        basic = {} if "sec-fetch-mode" in asked.headers else {"WWW-Authenticate": _BASIC}
        return _json(401, "log in first", basic | {MARK: self.mark})

    def _not_there(self, asked: Asked, state: str) -> web.Response:
        text, headers = f"{self.title} {state}", {"Retry-After": str(pages.RELOAD_S)}
        if _shows_pages(asked):
            return self._page(503, pages.waiting(self.title, f"{text}. This page loads itself again."), headers)
        return _json(503, text, headers)

    def _refusal(self, asked: Asked, refusal: Refused) -> web.Response:
        headers = _retry_after(refusal.wait_s)
        if _shows_pages(asked):
            return self._page(refusal.status, pages.message(self.title, refusal.text), headers)
        return _json(refusal.status, refusal.text, headers)

    def _page(self, status: int, html: str, headers: dict[str, str] | None = None) -> web.Response:
        # "no-referrer" would make the browser hide the form's own origin, which the guard wants to see
        policy = {"Referrer-Policy": "same-origin"}
        return web.Response(status=status, text=html, headers=_PRIVATE | pages.HEADERS | policy | (headers or {}))

    def _go(self, path: str, headers: dict[str, str] | None = None) -> web.Response:
        return web.Response(status=303, headers=_PRIVATE | {"Location": path} | (headers or {}))


class _Inside:
    """While inside, the running request is one of its session's, to be ended when that is logged out."""

    def __init__(self, inside: dict[bytes, set[asyncio.Task[object]]], session: bytes | None) -> None:
        self._inside, self._session = inside, session
        self._task = asyncio.current_task()

    def __enter__(self) -> None:
        if self._session and self._task:
            self._inside.setdefault(self._session, set()).add(self._task)

    def __exit__(self, *_: object) -> None:
        if self._session and self._task:
            tasks = self._inside[self._session]
            tasks.discard(self._task)
            if not tasks:
                del self._inside[self._session]


async def _form(request: web.BaseRequest) -> bytes:
    """A short request body; Refused for a long or a slow one."""
    found = b""
    try:
        async with asyncio.timeout(_FORM_S):
            while len(found) <= _LARGEST_FORM_BYTES and (chunk := await request.content.readany()):
                found += chunk
    except TimeoutError as fault:
        raise Refused(408, "the form did not come") from fault
    if len(found) > _LARGEST_FORM_BYTES:
        raise Refused(413, "the form is too long")
    return found


def _shows_pages(asked: Asked) -> bool:
    """Whether the answer will be shown to a person as a page."""
    if asked.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return False
    return is_safe(asked.method, asked.headers) and "text/html" in asked.headers.get("accept", "")


def _json(status: int, text: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=_PRIVATE | headers)


def _retry_after(wait_s: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(wait_s))} if wait_s else {}
