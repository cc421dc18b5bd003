"""Websockets, both ways: frames as they come, closed with the code that the other side closed with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from fsd.webui.lock.address import Address
from fsd.webui.lock.headers import to_upstream
from fsd.webui.lock.relay import UpstreamLost, upstream_url

LARGEST_MESSAGE_BYTES = 256 * 2**20
"""AUTOMATIC1111's page sends and gets pictures as text in one message."""
_CLOSE_S = 5.0
_GONE = (1011, b"the other side is gone")
_HANDSHAKE = {"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-accept",
              "sec-websocket-protocol"}  # fmt: skip
_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def relay_socket(
    session: aiohttp.ClientSession, request: web.BaseRequest, target: str, address: Address, port: int
) -> web.StreamResponse:
    """Join a browser's websocket to one of the web UI until either closes. UpstreamLost when the web UI opens none."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    protocols = [name.strip() for name in offered.split(",") if name.strip()]
    sent = to_upstream(request.headers.items(), address)
    headers = CIMultiDict((name, value) for name, value in sent if name.lower() not in _HANDSHAKE)
    try:
        upstream = await session.ws_connect(
            upstream_url("ws", port, target),
            headers=headers,
            protocols=protocols,
            autoclose=False,
            autoping=False,
            max_msg_size=LARGEST_MESSAGE_BYTES,
        )
    except aiohttp.WSServerHandshakeError as refusal:
        return web.Response(status=refusal.status if refusal.status >= 400 else 502)
    except (aiohttp.ClientError, OSError) as fault:
        raise UpstreamLost from fault
    try:
        browser = web.WebSocketResponse(
            autoclose=False,
            autoping=False,
            compress=False,
            timeout=_CLOSE_S,
            max_msg_size=LARGEST_MESSAGE_BYTES,
            protocols=[upstream.protocol] if upstream.protocol else (),
        )
        await browser.prepare(request)
        await _join(browser, upstream)
        return browser
    finally:
        await upstream.close()


async def _join(browser: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse) -> None:
    ways = [asyncio.create_task(_pass_on(browser, upstream)), asyncio.create_task(_pass_on(upstream, browser))]
    code, text = _GONE
    try:
        ended, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        code, text = next((way.result() for way in ended if not way.exception()), _GONE)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        closing = (side.close(code=code, message=text) for side in (upstream, browser))
        await asyncio.gather(*closing, return_exceptions=True)


async def _pass_on(source: _Socket, sink: _Socket) -> tuple[int, bytes]:
    """Send on what comes from `source` until it closes; return the code and the text that both are to close with."""
    send: dict[WSMsgType, Callable[..., Awaitable[None]]] = {
        WSMsgType.TEXT: sink.send_str,
        WSMsgType.BINARY: sink.send_bytes,
        WSMsgType.PING: sink.ping,
        WSMsgType.PONG: sink.pong,
    }
    while (message := await source.receive()).type in send:
        await send[message.type](message.data)
    if message.type is not WSMsgType.CLOSE:
        return (1009, b"") if source.close_code == 1009 else _GONE
    # 1005 and 1006 mean that none was sent, and are never sent themselves (RFC 6455, 7.4.1)
    code = message.data if message.data and message.data not in (1005, 1006) else 1000
    return code, (message.extra or "").encode()
