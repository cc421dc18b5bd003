"""Where the stand-ins play: programs on a PATH of their own, a lock, and a network that ends at this machine."""

from __future__ import annotations

import json
import os
import queue
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PATIENCE_S = 20.0


class Stage:
    """A stand-in's folder: what it shall do at each launch, what it was given, and the way to end it."""

    def __init__(self, folder: Path, programs: Path, name: str, script: str = "replay.py") -> None:
        self.folder = folder
        folder.mkdir()
        self.values()
        words = shlex.join([sys.executable, "-S", str(HERE / script), str(folder)])
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)

    def plays(self, *names: str) -> None:
        (self.folder / "plays").write_text(" ".join(names))

    def values(self, **values: object) -> None:
        (self.folder / "values.json").write_text(json.dumps(values))

    def launch(self, number: int) -> dict[str, Any]:
        """What a launch was given, once it has begun."""
        path = self.folder / f"launch-{number}.json"
        wait_until(path.exists)
        return dict(json.loads(path.read_text()))

    @property
    def launches(self) -> int:
        return len(list(self.folder.glob("launch-*.json")))

    def die(self, number: int) -> None:
        """End a launch that waits."""
        (self.folder / f"die-{number}").open("w").close()

    def ended(self) -> bool:
        """Whether no process of it is left."""
        return all(not alive(self.launch(number)["pid"]) for number in range(1, self.launches + 1))


class Lock:
    """What a tunnel needs of fsd's proxy: a port at which strangers get 401, and an ear for its public address."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.public: list[str] = []

    def set_public(self, url: str) -> None:
        self.public.append(url)


class Checks:
    """Tries an address as the launch does: counts, and fails where it is told to."""

    def __init__(self, port: int) -> None:
        self.here = f"http://127.0.0.1:{port}"
        self.asked: list[str] = []
        self.fails: Callable[[str, int], bool] = lambda url, count: False

    def __call__(self, url: str) -> None:
        self.asked.append(url)
        if self.fails(url, self.asked.count(url)):
            raise OSError("Name or service not known")


class Urls:
    """Collects the addresses that are told."""

    def __init__(self) -> None:
        self._told: queue.Queue[str] = queue.Queue()

    def __call__(self, url: str) -> None:
        self._told.put(url)

    def next(self) -> str:
        return self._told.get(timeout=PATIENCE_S)

    @property
    def left(self) -> int:
        return self._told.qsize()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(true: Callable[[], object]) -> None:
    """Return once it is true; fails the test after a while."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


@contextmanager
def serving(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[int]:
    """A web server on this machine; answer: path -> status and body. Yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def block_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection and look-up that would leave this machine is an error of the test."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def only_here(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a connection to {address} was tried")
        return connect(self, address)

    def only_us(host: Any, *args: Any, **options: Any) -> Any:
        if host not in (None, "", "127.0.0.1", "::1", "localhost", b"127.0.0.1"):
            raise AssertionError(f"the address of {host} was asked for")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", only_here)
    monkeypatch.setattr(socket.socket, "connect_ex", only_here)
    monkeypatch.setattr(socket, "getaddrinfo", only_us)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
