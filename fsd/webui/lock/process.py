"""The proxy's process, seen from the notebook: started, told what changes, stopped."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import queue
import secrets
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fsd.errors import MachineError, from_json
from fsd.runtime.process import child_environment, python_module
from fsd.webui.lock import address
from fsd.webui.lock.paths import LOGIN

_START_S, _ANSWER_S, _STOP_S = 60.0, 20.0, 5.0
_TAIL_LINES = 15
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")
"""What the proxy sees of our environment: the tokens and passwords of others are none of its business."""


def start_proxy(title: str, port: int = 0, lost: Callable[[MachineError], None] = lambda why: None) -> ProxyProcess:
    """A proxy that listens on 127.0.0.1 and lets nobody in but by its login links and its password.

    title: what its pages are called. port: 0 for any free one. lost: told, in a thread of its own, when it has ended
    without being asked to: another program may listen at its port next. MachineError when it cannot start.
    """
    return ProxyProcess(title, port, lost)


class ProxyProcess:
    """A running proxy; it ends with this process.

    port: where it listens, on 127.0.0.1. user, password: for programs, as HTTP Basic credentials with each request.
    mark: what it says to strangers in the header MARK, and no other lock does.
    """

    def __init__(self, title: str, port: int, lost: Callable[[MachineError], None]) -> None:
        self.user, self.password, self.mark = "fsd", secrets.token_urlsafe(32), secrets.token_hex(8)
        self._numbers = itertools.count()
        self._stopping = False
        self._lock = threading.Lock()
        self._answers: queue.Queue[str] = queue.Queue()
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._child = subprocess.Popen(
            python_module("fsd.webui.lock.proxy"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment({name: os.environ[name] for name in _PASSED_ON if name in os.environ}),
            text=True,
            start_new_session=True,
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_answers, self._read_tail)]
        for reader in self._readers:
            reader.start()
        settings = {"title": title, "port": port, "mark": self.mark, "user": self.user}
        try:
            self.port: int = self._ask(settings | {"password_sha256": _sha256(self.password)}, _START_S)["port"]
        except BaseException:
            self.stop()
            raise
        threading.Thread(target=self._wait, args=(lost,), daemon=True, name="end of the lock").start()

    def __repr__(self) -> str:
        return f"<proxy at 127.0.0.1:{self.port}, {'running' if self.is_running else 'stopped'}>"

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._child.poll() is None

    def login_path(self) -> str:
        """A new path that logs in whoever opens it first, once and within a day: put it behind the address."""
        token = secrets.token_urlsafe(32)
        self._ask({"token_sha256": _sha256(token)})
        return f"{LOGIN}?token={token}"

    def set_upstream(self, port: int | None) -> None:
        """Pass requests on to the web UI on that port; None while there is none: people then see that it starts."""
        self._ask({"upstream": port})

    def set_public(self, url: str) -> None:
        """Tell the proxy an address that leads to it. It answers at no others but those of this machine."""
        address.parse(url)
        self._ask({"public": url})

    def stop(self) -> None:
        """End the process and all connections; nothing happens if it has ended."""
        self._stopping = True
        self._end()

    def _wait(self, lost: Callable[[MachineError], None]) -> None:
        self._child.wait()
        if not self._stopping:
            lost(self._death())

    def _end(self) -> None:
        assert self._child.stdin is not None
        with suppress(OSError, ValueError):
            self._child.stdin.close()
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for reader in self._readers:
            reader.join(_STOP_S)

    def _ask(self, message: dict[str, Any], patience_s: float = 0.0) -> dict[str, Any]:
        """Send one message and return its answer; MachineError when the proxy is gone, or does not answer in time."""
        assert self._child.stdin is not None
        with self._lock:
            number = next(self._numbers)
            with suppress(OSError, ValueError):  # it has died: there will be no answer
                self._child.stdin.write(json.dumps(message | {"number": number}) + "\n")
                self._child.stdin.flush()
            answer = self._answer(number, patience_s or _ANSWER_S)
        if "error" in answer:
            raise from_json(answer)
        return answer

    def _answer(self, number: int, patience_s: float) -> dict[str, Any]:
        """The answer with that number; those that come too late for others are passed over."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                line = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                hint = "wait until the machine has less to do, and try again"
                raise MachineError(f"the proxy does not answer within {patience_s:.0f} seconds", hint) from None
            if not line:
                self._answers.put("")  # for whoever asks next
                raise self._death()
            if (answer := json.loads(line))["number"] == number:
                return dict(answer)

    def _read_answers(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as stream:
            for line in stream:
                self._answers.put(line)
        self._answers.put("")

    def _read_tail(self) -> None:
        assert self._child.stderr is not None
        with self._child.stderr as stream:
            for line in stream:
                self._tail.append(line.rstrip())

    def _death(self) -> MachineError:
        self._end()
        missing = any("No module named" in line for line in self._tail)
        hint = "install what it needs: fsd setup webui" if missing else "start the web UI again"
        last = "".join(f"\n    {line}" for line in self._tail)
        return MachineError(f"the proxy has ended (exit code {self._child.returncode}){last}", hint)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
