"""A web UI that was launched in a terminal: Enter prints another login link."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

from fsd.errors import FsdError
from fsd.runtime import report

if TYPE_CHECKING:
    from fsd.webui.running import WebUI


def links_on_enter(running: WebUI) -> None:
    """From now on each line that comes on standard input prints a new login link; nothing happens where none can come."""
    if hasattr(signal, "SIGTTIN") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # or a terminal would stop us for reading in the background
    if sys.stdin is not None:
        threading.Thread(target=_listen, args=(running,), daemon=True).start()


def _listen(running: WebUI) -> None:
    try:
        for _ in sys.stdin:
            report.say(f"log in (this link opens once): {running.new_login_link()}")
    except FsdError as fault:
        report.say(str(fault))
    except (OSError, ValueError):  # refused, or closed
        pass
