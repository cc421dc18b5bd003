"""A web UI that runs behind the lock: its link, its log, its end."""

from __future__ import annotations

import atexit
import base64
import html
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fsd.errors import FsdError, MachineError
from fsd.runtime import report
from fsd.webui.lock.headers import MARK
from fsd.webui.lock.process import start_proxy
from fsd.webui.server import Server, headers_of, status_of
from fsd.webui.supervisor import Supervisor

if TYPE_CHECKING:
    from fsd.webui.tunnels import Watch

_LOOPBACK = ("127.0.0.1", "localhost")
_PAST_REMINDERS = {"ngrok-skip-browser-warning": "1", "bypass-tunnel-reminder": "1", "Accept": "application/json"}
"""So that a tunnel's own warning page does not stand in for ours."""
_LOOK_S = 1.0
_current: WebUI | None = None


class Shown(str):
    """A text that a notebook shows as it is, not as Python would write it."""

    def __repr__(self) -> str:
        return str(self)


class WebUI:
    """A running web UI. url: where it is; people get in by a login link, which opens once.

    user, password: for programs that use its API, as HTTP Basic credentials. It ends with this process.
    """

    def __init__(
        self, title: str, make: Callable[[int], Server], ping: str, log: Path, tunnel: str | list[str], port: int = 0
    ) -> None:
        self.title = title
        self.url = self.login_link = ""
        self._ping = ping
        self._showing = threading.Lock()
        self._watch: Watch | None = None
        self._closing = False
        self._supervisor = Supervisor(make, log, self._at_port)
        self._proxy = start_proxy(title, port, self._unlocked)
        atexit.register(self.stop)
        try:
            self._supervisor.start()
            self._open(tunnel)
        except BaseException:
            self.stop()
            raise

    @property
    def user(self) -> str:
        """The name that programs log in with."""
        return self._proxy.user

    @property
    def password(self) -> str:
        """The password that programs log in with; made anew for each launch."""
        return self._proxy.password

    @property
    def running(self) -> bool:
        """Whether it was neither stopped nor died for good, and its lock is there."""
        return self._proxy.is_running and not self._supervisor.ended.is_set()

    @property
    def fault(self) -> Exception | None:
        """Why nobody can reach it any more: it or its lock died, or its tunnel was given up; else None."""
        return self._supervisor.fault or (self._watch.fault if self._watch else None)

    def new_login_link(self) -> str:
        """Another link that logs in whoever opens it first, once and within a day."""
        if not self.running:
            raise MachineError(f"{self.title} does not run any more", "launch it again")
        if self.fault:
            why = str(self.fault).partition("\n")[0]
            raise MachineError(f"the tunnel of {self.title} was given up: {why}", "launch it again")
        self.login_link = f"{self.url.rstrip('/')}{self._proxy.login_path()}"
        return Shown(self.login_link)

    def logs(self, lines: int = 50) -> str:
        """The last lines of its log; the whole is in the folder logs beside its settings."""
        return Shown("\n".join(self._supervisor.tail(lines)))

    def restart(self) -> None:
        """End the web UI and start it again; the link stays, and so do those who are logged in."""
        self._supervisor.restart()

    def wait(self) -> None:
        """Return when it was stopped; MachineError that says why when it died for good."""
        while not self._supervisor.ended.wait(_LOOK_S):  # Ctrl-C in the moment before it sleeps does not wake it
            pass
        if self._supervisor.fault:
            raise self._supervisor.fault

    def stop(self) -> None:
        """Close the tunnel, end the web UI with everything that it started, and the lock last."""
        atexit.unregister(self.stop)
        self._close_tunnel()
        self._supervisor.stop()
        self._proxy.stop()

    def __enter__(self) -> WebUI:
        return self

    def __exit__(self, *fault: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        how = ("without its tunnel" if self.fault else "running") if self.running else "stopped"
        return f"<{self.title} at {self.url}, {how}>"

    def _repr_html_(self) -> str:
        if not self.running:
            return f"<p>{html.escape(self.title)} was stopped.</p>"
        if self.fault:
            why = html.escape(str(self.fault)).replace("\n", "<br>")
            return f"<p>{html.escape(self.title)} runs, but its tunnel was given up: {why}<br>Launch it again.</p>"
        link, title = html.escape(self.login_link, quote=True), html.escape(self.title)
        return (
            f'<p><a href="{link}" target="_blank" rel="noopener noreferrer"><b>Open {title}</b></a> '
            "(this link opens once; the cell below makes another)</p>"
        )

    def _unlocked(self, fault: MachineError) -> None:
        """The lock has died: nothing may lead to its port any more, where another program may listen next."""
        self._close_tunnel()
        self._supervisor.stop(fault)
        report.say(f"{self.title} was stopped, as its lock is gone: {fault}")

    def _close_tunnel(self) -> None:
        self._closing = True
        if self._watch is not None:
            self._watch.close()

    def _at_port(self, port: int | None) -> None:
        """The web UI answers at this port now, or nowhere: tell the lock, and see that it answers through it."""
        self._proxy.set_upstream(port)
        if port is None:
            return
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        status = status_of(f"http://127.0.0.1:{self._proxy.port}{self._ping}", {"Authorization": f"Basic {login}"})
        if status != 200:
            what = f"{self.title} does not answer through the lock (HTTP status {status})"
            raise MachineError(what, "launch it again")

    def _open(self, tunnel: str | list[str]) -> None:
        from fsd.webui.tunnels import start_watch

        self._watch = watch = start_watch(tunnel, self._proxy, self._check, self._show)
        if self._closing:  # by another thread, which did not see the watch yet
            watch.close()
        watch.wait_open()
        self._show(watch.url)

    def _check(self, url: str) -> None:
        """MachineError unless our lock, which has the web UI behind it, answers at that address. It is told no secret."""
        if urlsplit(url).hostname not in _LOOPBACK:
            self._proxy.set_public(url)
        status, headers = headers_of(f"{url.rstrip('/')}{self._ping}", _PAST_REMINDERS)
        if status != 401 or headers.get(MARK.lower()) != self._proxy.mark:
            what = f"{url} answers with status {status}" if status else f"{url} does not answer"
            raise MachineError(f"{what}, not as the lock does", "another tunnel may work")

    def _show(self, url: str) -> None:
        with self._showing:
            if url == self.url:
                return
            before, self.url = self.url, url
            try:
                if urlsplit(url).hostname not in _LOOPBACK:
                    self._proxy.set_public(url)
                link = self.new_login_link()
            except FsdError as fault:
                self.url = before
                report.say(str(fault))
                return
        report.say(f"{self.title} {'moved to another address' if before else 'is ready'}: {url}")
        report.say(f"log in (this link opens once): {link}")


def replace_current(make: Callable[[], WebUI]) -> WebUI:
    """A new web UI in place of the one that this process runs: two would not fit into the card's memory."""
    global _current
    if _current is not None:
        if _current.running:
            report.say(f"{_current.title} is stopped first")
        _current.stop()  # one that died has still its lock and its tunnel
    _current = make()
    return _current
