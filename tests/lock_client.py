"""Clients of the lock for tests: a plain one, one that sends bytes as they are, a websocket by hand."""

from __future__ import annotations

import base64
import http.client
import socket
import struct
from contextlib import closing, suppress
from typing import Any

from upstream import PATIENCE_S

from fsd.webui.lock.paths import LOGIN
from fsd.webui.lock.process import ProxyProcess

PUBLIC = "some-words.trycloudflare.com"
PAGE = {"Accept": "text/html,*/*;q=0.8"}
SOCKET = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}  # fmt: skip


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        self.text = self.body.decode(errors="replace")


def ask(
    proxy: ProxyProcess, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path, body, headers or {})
        return Answer(connection.getresponse())


def open_link(proxy: ProxyProcess, path: str, **headers: str) -> Answer:
    """What a person gets who opens a login link: its page posts the token at once."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return ask(proxy, LOGIN, "POST", path.partition("?")[2], form | headers)


def log_in(proxy: ProxyProcess, **headers: str) -> str:
    answer = open_link(proxy, proxy.login_path(), **headers)
    assert answer.status == 303
    return answer.headers["Set-Cookie"].partition(";")[0]


def own(proxy: ProxyProcess, cookie: str) -> dict[str, str]:
    """What the browser of the owner sends from the web UI's own page."""
    return {"Cookie": cookie, "Origin": f"http://127.0.0.1:{proxy.port}"}


def basic(proxy: ProxyProcess, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{proxy.user}:{password or proxy.password}".encode()).decode()


def raw(proxy: ProxyProcess, request: bytes) -> bytes:
    """What comes back for bytes sent as they are, until the proxy closes; one that waits for more is told the end."""
    found = b""
    with closing(socket.create_connection(("127.0.0.1", proxy.port), 1)) as connection:
        connection.sendall(request)
        for end in (False, True):
            with suppress(TimeoutError, ConnectionResetError):
                if end:
                    connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(65536):
                    found += chunk
                break
    return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


class Socket:
    """A websocket, by hand: masked frames out, plain frames in."""

    def __init__(self, proxy: ProxyProcess, cookie: str, **more: str) -> None:
        lines = {"Host": f"127.0.0.1:{proxy.port}", "Origin": f"http://127.0.0.1:{proxy.port}", "Cookie": cookie}
        self.connection = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S)
        head = "".join(f"{name}: {value}\r\n" for name, value in (SOCKET | lines | more).items())
        self.connection.sendall(f"GET /test/socket HTTP/1.1\r\n{head}\r\n".encode())
        self.stream = self.connection.makefile("rb")
        self.head = b"".join(iter(self.stream.readline, b"\r\n")).decode()

    def send(self, kind: int, data: bytes) -> None:
        size = struct.pack("!B", 128 | len(data)) if len(data) < 126 else struct.pack("!BQ", 255, len(data))
        self.connection.sendall(bytes([128 | kind]) + size + bytes(4) + data)

    def receive(self) -> tuple[int, bytes]:
        kind, size = self.stream.read(2)
        if size == 126:
            (size,) = struct.unpack("!H", self.stream.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.stream.read(8))
        return kind & 15, self.stream.read(size)

    def close(self) -> None:
        self.stream.close()
        self.connection.close()
