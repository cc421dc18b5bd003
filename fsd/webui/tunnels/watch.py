"""Keeps a tunnel open: the first kind that works, tried end to end, opened again when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from fsd.errors import FsdError, MachineError
from fsd.runtime import report
from fsd.webui.tunnels.pace import Pace
from fsd.webui.tunnels.tunnel import Lock, Opener, Passing, Tunnel, TunnelKind

_CLOSE_S = 30.0
_SILENCES = 2
"""Looks on end at which the lock did not answer on this machine, until its tunnel is closed."""


@dataclass(frozen=True)
class Choice:
    """A kind of tunnel that can be opened here."""

    kind: TunnelKind
    open: Opener


class Watch:
    """An open tunnel and the thread that keeps it open.

    url: its address now, "" while there is none. kind: its name in TUNNELS. fault: why it was given up, else None.
    """

    def __init__(
        self, choices: list[Choice], lock: Lock, check: Callable[[str], None], on_url: Callable[[str], None], pace: Pace
    ) -> None:
        self.url = self.kind = ""
        self.fault: Exception | None = None
        self._choices, self._lock, self._check, self._on_url, self._pace = choices, lock, check, on_url, pace
        self._tunnel: Tunnel | None = None
        self._stop, self._settled, self._over = threading.Event(), threading.Event(), threading.Event()
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="tunnel")
        self._thread.start()

    def __repr__(self) -> str:
        return f"<tunnel {self.kind}: {self.url}>" if self.url else "<no tunnel>"

    def wait_open(self) -> None:
        """Return once the first tunnel is open and answers; FsdError when none can be opened."""
        try:
            self._settled.wait()
        except BaseException:
            self.close()
            raise
        if self.fault:
            raise self.fault

    def close(self) -> None:
        """Close the tunnel; nothing of it stays. May be called twice."""
        with self._changing:
            self._stop.set()
            self._over.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)  # a download does not stop at once; its program is not started any more

    def _run(self) -> None:
        try:
            self._open_any(self._choices, self._pace.first, only_passing=True)
            self._settled.set()
            while not self._stop.is_set():
                why = self._until_broken()
                self._let_go()
                if not self._stop.is_set():
                    report.say(f"the tunnel ({self.kind}) is gone: {_line(why)}. Opening it again.")
                    self._open_any(self._in_turn(), self._pace.again, only_passing=False)
        except Exception as fault:
            self.fault = fault
            if self._settled.is_set() and not self._stop.is_set():
                report.say(f"the tunnel is closed for good, the web UI runs on without: {_line(fault)}")
        finally:
            self._let_go()
            self._settled.set()

    def _open_any(self, choices: Iterable[Choice], pauses: tuple[float, ...], only_passing: bool) -> None:
        """Open the first that works, in rounds; only_passing: later rounds leave out what cannot get better."""
        left, faults = list(choices), dict[str, FsdError]()
        for pause in (*pauses, None):
            for choice in left:
                try:
                    self._open(choice)
                    return
                except FsdError as fault:
                    if self._stop.is_set():
                        raise
                    if str(faults.get(choice.kind.title)) != str(fault):  # said once, not in every round
                        report.say(f"  {choice.kind.title}: {_line(fault)}")
                    faults[choice.kind.title] = fault
            if only_passing:
                left = [choice for choice in left if isinstance(faults[choice.kind.title], Passing)]
            if pause is None or not left or self._stop.wait(pause):
                raise none_of(faults)

    def _open(self, choice: Choice) -> None:
        with self._changing:
            if self._stop.is_set():
                raise MachineError("the tunnel was closed while it was being opened", "")
            over = self._over = threading.Event()
        tunnel = choice.open(over)
        try:
            if choice.kind.public:
                self._lock.set_public(tunnel.url)
            self._wait_answer(choice.kind, tunnel, over)
            if over.is_set():
                raise tunnel.why()
            before, self.kind = self.kind, choice.kind.name
            self._tunnel, self.url = tunnel, tunnel.url
            self._on_url(tunnel.url)
            for note in choice.kind.notes if self.kind != before else ():
                report.say(f"  {note}")
        except BaseException:
            self._tunnel, self.url = None, ""
            tunnel.close()
            raise

    def _wait_answer(self, kind: TunnelKind, tunnel: Tunnel, over: threading.Event) -> None:
        """Return once the whole chain answers; FsdError if it does not in time, or ends."""
        deadline, tries = time.monotonic() + self._pace.check_s, 0
        while fault := self._failure(self._tried_at(kind, tunnel)):
            pause = self._pace.steps[min(tries, len(self._pace.steps) - 1)]
            if time.monotonic() + pause > deadline:
                what = f"{tunnel.url} did not answer within {self._pace.check_s:.0f} seconds: {_line(fault)}"
                raise Passing(what, "try again later, or choose another tunnel")
            if over.wait(pause):
                raise tunnel.why()
            tries += 1

    def _until_broken(self) -> Exception:
        """Wait for the tunnel's end, or until it does not lead to us any more; return why.

        MachineError when the lock itself is gone: whatever listens at its port next would be open to everybody.
        """
        assert self._tunnel
        kind = next(choice.kind for choice in self._choices if choice.kind.name == self.kind)
        strikes = silences = 0
        while not self._over.wait(self._pace.steps[-1] if strikes or silences else self._pace.every_s):
            fault = self._failure(self._tried_at(kind, self._tunnel))
            gone = fault and self._failure(self._here)
            strikes, silences = strikes + 1 if fault and not gone else 0, silences + 1 if gone else 0
            if gone and silences >= _SILENCES:
                raise MachineError(f"the lock does not answer any more: {_line(gone)}", "launch the web UI again")
            if fault and strikes >= self._pace.strikes:
                return fault
        return self._tunnel.why()

    def _failure(self, url: str) -> Exception | None:
        try:
            self._check(url)
        except Exception as fault:  # the caller's function: whatever it raises means no
            return fault
        return None

    def _tried_at(self, kind: TunnelKind, tunnel: Tunnel) -> str:
        return tunnel.url if kind.reachable else self._here

    @property
    def _here(self) -> str:
        return f"http://127.0.0.1:{self._lock.port}"

    def _in_turn(self) -> list[Choice]:
        """The kind that was open first, then the others."""
        return sorted(self._choices, key=lambda choice: choice.kind.name != self.kind)

    def _let_go(self) -> None:
        tunnel, self._tunnel, self.url = self._tunnel, None, ""
        if tunnel:
            with suppress(Exception):
                tunnel.close()


def none_of(faults: dict[str, FsdError]) -> FsdError:
    """The one error for all that failed; faults: by the tunnel's title."""
    if len(faults) == 1:
        return next(iter(faults.values()))
    what = "; ".join(f"{title}: {fault.message}" for title, fault in faults.items())
    return MachineError(f"no tunnel could be opened ({what})", next(iter(faults.values())).hint)


def _line(fault: Exception) -> str:
    """A fault in one line."""
    if isinstance(fault, FsdError):
        return f"{fault.message}; {fault.hint}" if fault.hint else fault.message
    return f"{type(fault).__name__}: {str(fault).partition(chr(10))[0]}"
