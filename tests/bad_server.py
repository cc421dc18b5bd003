"""An HTTP server on this machine that behaves as badly as a test wants, and keeps what it was asked."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers a path with the next of its behaviours; the last one stays."""

    owner: BadServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.owner.asked.append((self.path, dict(self.headers)))
        behaviours = self.owner.routes.get(path, [status(404)])
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        behaviour(self)
        self.close_connection = True

    def start(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def reset(self) -> None:
        """End the connection as a broken line does."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass


class BadServer:
    """routes: the behaviours of each path. asked: (path with query, headers) of every request."""

    def __init__(self) -> None:
        self.routes: dict[str, list[Behaviour]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        handler = type("OneHandler", (Handler,), {"owner": self})
        self.running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.running.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.running.server_port}"
        threading.Thread(target=self.running.serve_forever, args=(0.02,), daemon=True).start()

    def on(self, path: str, *behaviours: Behaviour) -> str:
        """Set what `path` does, request after request; its address."""
        self.routes[path.partition("?")[0]] = list(behaviours)
        return self.url + path

    def sent(self, name: str) -> list[str]:
        """That header of every request, "" where it was not sent."""
        return [headers.get(name, "") for _, headers in self.asked]


@contextmanager
def bad_server() -> Iterator[BadServer]:
    server = BadServer()
    yield server
    server.running.shutdown()
    server.running.server_close()


def status(code: int, body: bytes = b"", **headers: str) -> Behaviour:
    """An answer without a file. headers: with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(handler: Handler) -> None:
        handler.start(code, {"Content-Length": str(len(body)), **named})
        handler.wfile.write(body)

    return answer


def redirect(to: str, code: int = 302) -> Behaviour:
    return status(code, Location=to)


def page(html: str, code: int = 200, **headers: str) -> Behaviour:
    return status(code, html.encode(), Content_Type="text/html; charset=utf-8", **headers)


def file(
    content: bytes,
    *,
    cut: Callable[[int], int] | None = None,
    ranges: str = "honest",
    length: int | None = 0,
    version: str = '"v1"',
    reset: bool = False,
    headers: dict[str, str] | None = None,
) -> Behaviour:
    """A file. cut: how many of the bytes due are sent before the line breaks (reset: hard).

    ranges: "honest"; "ignored"; "wrong" (another part than asked for); "none" (416). length: what is added to the true
    Content-Length, None for no such header. version: the ETag, "" for none.
    """

    def answer(handler: Handler) -> None:
        named = {
            "Content-Type": "application/octet-stream",
            **({"ETag": version} if version else {}),
            **(headers or {}),
        }
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        unchanged = handler.headers.get("If-Range", version) == version
        start, code = 0, 200
        if asked and ranges != "ignored" and unchanged:
            start, code = int(asked[1]), 206
            if ranges == "none" or start >= len(content):
                handler.start(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            start = start // 2 if ranges == "wrong" else start
            named["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        due = content[start:]
        if length is not None:
            named["Content-Length"] = str(len(due) + (length if code == 200 else 0))
        handler.start(code, named)
        handler.wfile.write(due[: cut(len(due))] if cut else due)
        if reset:
            handler.reset()

    return answer


def random_cuts(seed: int) -> Callable[[int], int]:
    """Somewhere between nothing and everything, at random; small rests come whole."""
    dice = random.Random(seed)
    return lambda due: due if due < 2000 else dice.randrange(due)


class FakeClock:
    """A clock that jumps when it is asked to sleep."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
