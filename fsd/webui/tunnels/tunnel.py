"""What a tunnel is: something that was opened, has an address, may end, and can be closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fsd.errors import FsdError, MachineError


class Passing(MachineError):
    """A failure that may pass: worth another try in a while."""


@dataclass(frozen=True)
class Tunnel:
    """An open tunnel. url: its address, without a path. why: what to say when it has ended. close: leaves nothing."""

    url: str
    why: Callable[[], FsdError] = lambda: Passing("it has ended", "wait until it is opened again")
    close: Callable[[], None] = lambda: None


Opener = Callable[[threading.Event], Tunnel]
"""Opens a tunnel, as often as it is asked to, in any thread. It sets the event when that tunnel has ended by itself,
and gives up when the event is set while it opens. FsdError says in one line why it cannot; Passing where that may pass.
"""


@dataclass(frozen=True)
class TunnelKind:
    """A way to the outside. name: as in TUNNELS. title: for people.

    prepare: port and asked-for address ("" for any) -> the opener. Called on the caller's thread, since only there may a
    notebook's page be asked for tokens; MachineError when it cannot work on this machine. notes: quotas and quirks,
    shown with the address. public: the address leads to other machines. reachable: it can be tried from here.
    queues: it carries the websockets of an old Gradio's queue.
    """

    name: str
    title: str
    prepare: Callable[[int, str], Opener]
    notes: tuple[str, ...] = field(default=())
    public: bool = True
    reachable: bool = True
    queues: bool = True


class Lock(Protocol):
    """The proxy that stands before the web UI: only onto one does a tunnel open."""

    @property
    def port(self) -> int: ...

    def set_public(self, url: str, /) -> None: ...
