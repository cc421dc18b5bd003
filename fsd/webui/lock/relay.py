"""Passing requests on to the web UI and its answers back, as they come: nothing is held until it is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from fsd.webui.lock.address import Address
from fsd.webui.lock.headers import to_client, to_upstream
from fsd.webui.lock.request import Refused

LARGEST_UPLOAD_BYTES = 4 * 2**30
BUFFER_BYTES = 2**20
"""Per direction of a connection; where one side is slower, the other waits."""
_POOLED_S = 2.0
"""Shorter than a web UI keeps an idle connection (uvicorn: 5 s), so that none is used just as it closes."""
_CONNECT_S = 10.0


class UpstreamLost(Exception):
    """The web UI does not answer, or stopped before its answer began."""


def new_session() -> aiohttp.ClientSession:
    """The pool of connections to the web UI: no cookies of its own, bodies as they are, no limit to waiting streams."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_POOLED_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=BUFFER_BYTES,
        max_line_size=2**16,
        max_field_size=2**16,
    )


def upstream_url(scheme: str, port: int, target: str) -> URL:
    """The web UI's address for a request target, letter for letter as it was asked, but for a "?" at its end."""
    return URL(f"{scheme}://127.0.0.1:{port}{target}", encoded=True)


async def relay(
    session: aiohttp.ClientSession, request: web.BaseRequest, target: str, address: Address, port: int
) -> web.StreamResponse:
    """Pass one request on and its answer back.

    Refused (413) for a body that is too large, UpstreamLost when no answer comes. An answer that breaks off breaks
    off for the browser too.
    """
    headers = CIMultiDict(to_upstream(request.headers.items(), address))
    body = _Body(request) if request.body_exists else None
    if body and request.content_length is not None:
        headers[hdrs.CONTENT_LENGTH] = str(request.content_length)
    await _say_continue(request)
    url = upstream_url("http", port, target)
    data = body.chunks() if body else None
    try:
        answer = await session.request(request.method, url, headers=headers, data=data, allow_redirects=False)
    except (aiohttp.ClientError, OSError) as fault:
        if body and body.is_too_large:
            raise _too_large() from fault
        raise UpstreamLost from fault
    try:
        return await _pass_back(request, answer)
    finally:
        answer.close()


async def _pass_back(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in to_client(answer.headers.items()):
        response.headers.add(name, value)
    await response.prepare(request)
    try:
        while chunk := await answer.content.readany():
            await response.write(chunk)
    except (aiohttp.ClientError, OSError):
        if request.transport:
            request.transport.abort()
        raise
    await response.write_eof()
    return response


class _Body:
    """A request's body, counted as it passes."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._content = request.content
        self.is_too_large = False
        if (request.content_length or 0) > LARGEST_UPLOAD_BYTES:
            raise _too_large()

    async def chunks(self) -> AsyncIterator[bytes]:
        passed = 0
        while chunk := await self._content.readany():
            passed += len(chunk)
            if passed > LARGEST_UPLOAD_BYTES:
                self.is_too_large = True
                raise ValueError
            yield chunk


def _too_large() -> Refused:
    return Refused(413, f"a request may hold {LARGEST_UPLOAD_BYTES // 2**30} GB at most")


async def _say_continue(request: web.BaseRequest) -> None:
    """Ask for the body that the sender holds back until it is wanted (RFC 9110, 10.1.1)."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
