"""A stand-in for a web UI that would serve everything to anybody, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

SECRET_PAGE = b"the web UI itself"
PACKED = gzip.compress(b"packed " * 100)
PATIENCE_S = 20


@dataclass(frozen=True)
class Seen:
    """One request as the upstream got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]

    def header(self, wanted: str) -> list[str]:
        return [value for name, value in self.headers if name.lower() == wanted.lower()]


class Upstream:
    """Serves in a thread of its own until `stop`. port: of 127.0.0.1. go_on: lets the next waiting answer go on."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.go_on = threading.Semaphore(0)
        self.arrived, self.left = threading.Event(), threading.Event()
        self._sockets = 0
        self._no_socket = threading.Condition()
        self.received_bytes = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE_S)

    def forget(self) -> None:
        """What was seen before a test is none of its business, nor are its websockets, which are waited for."""
        with self._no_socket:
            assert self._no_socket.wait_for(lambda: not self._sockets, PATIENCE_S)
        self.seen.clear()
        self.arrived.clear()
        self.left.clear()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = web.Server(self._answer, access_log=None, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(Seen(request.method, request.raw_path, list(request.headers.items())))
        special: dict[str, Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] = {
            "/test/events": self._events, "/test/big": self._big, "/test/socket": self._socket,
            "/test/upload": self._upload, "/test/broken": self._broken, "/test/headers": self._headers,
            "/test/redirect": self._redirect, "/test/gzip": self._gzip,
        }  # fmt: skip
        if answer := special.get(request.path):
            return await answer(request)
        return web.Response(body=SECRET_PAGE, content_type="text/plain")

    async def _wait(self) -> None:
        """Until the test says `go_on.release()`."""
        while not self.go_on.acquire(blocking=False):
            await asyncio.sleep(0.005)

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for number in range(1000):
                await self._wait()
                await response.write(f"data: {number}\n\n".encode())
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response

    async def _big(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(range(256)) * (int(request.query["bytes"]) // 256), content_type="image/png")

    async def _upload(self, request: web.BaseRequest) -> web.StreamResponse:
        self.received_bytes = 0
        try:
            while chunk := await request.content.readany():
                self.received_bytes += len(chunk)
                self.arrived.set()
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return web.json_response({"bytes": self.received_bytes})

    async def _broken(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": request.query.get("bytes", "1000")})
        await response.prepare(request)
        await response.write(b"only a part" * (int(request.query.get("bytes", "20")) // 20))
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _headers(self, request: web.BaseRequest) -> web.StreamResponse:
        headers: list[tuple[str, str]] = [
            ("Set-Cookie", "theirs=1"), ("Set-Cookie", "also=2"), ("Set-Cookie", "fsd-session-1=planted; Path=/"),
            ("Set-Cookie", "__Host-fsd-session=planted; Path=/; Secure"), ("Cache-Control", "public, max-age=60"),
            ("CDN-Cache-Control", "max-age=600"), ("Access-Control-Allow-Origin", "https://evil.example"),
            ("Access-Control-Allow-Credentials", "true"), ("Connection", "X-Hop"), ("X-Hop", "1"), ("ETag", '"kept"'),
        ]  # fmt: skip
        response = web.Response(body=b"x", headers=None)
        for name, value in headers:
            response.headers.add(name, value)
        return response

    async def _redirect(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/config", "Set-Cookie": "theirs=1; Path=/"})

    async def _gzip(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=PACKED, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})

    async def _socket(self, request: web.BaseRequest) -> web.StreamResponse:
        """Echoes; "close CODE TEXT" closes with that."""
        socket = web.WebSocketResponse(protocols=["chat"], max_msg_size=0)
        self._count_sockets(1)
        try:
            await self._echo(socket, request)
        finally:
            self.closed_with: Any = socket.close_code
            self.left.set()
            self._count_sockets(-1)
        return socket

    def _count_sockets(self, more: int) -> None:
        with self._no_socket:
            self._sockets += more
            self._no_socket.notify_all()

    async def _echo(self, socket: web.WebSocketResponse, request: web.BaseRequest) -> None:
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data.startswith("close "):
                _, code, text = message.data.split(" ", 2)
                await socket.close(code=int(code), message=text.encode())
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
