"""What the browser answers. The real module sends a request to the notebook's page and waits."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.colab import errors


class MessageError(errors.Error):
    """Thrown on error response from frontend."""


def _chosen_files(request: Any) -> dict[str, bytes]:
    """The files that the user picks: all in the folder that the environment names; none is a cancelled dialog."""
    folder = os.environ.get("COLAB_STAND_IN_UPLOADS")
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())} if folder else {}


def _evaluate(request: Any) -> Any:
    """What the page's JavaScript says: the address of a port; nothing else is known here."""
    found = re.search(r"google\.colab\.kernel\.proxyPort\((\d+)", request["script"])
    return f"https://{found[1]}-stand-in.prod.colab.dev/" if found else None


replies: dict[str, Any] = {
    "request_auth": {},
    "upload": _chosen_files,
    "GetSecret": {"exists": False},
    "eval_js": _evaluate,
}
"""Request type -> what comes back, an exception to raise, or a function of the request."""


def blocking_request(request_type: str, request: Any = "", timeout_sec: float | None = 5, parent: Any = None) -> Any:
    """The reply of the browser; None when it does not answer in time."""
    if threading.current_thread() is not threading.main_thread():
        raise AssertionError(f"{request_type} was asked from a background thread: the real module would never return")
    reply = replies[request_type]
    if isinstance(reply, BaseException):
        raise reply
    return reply(request) if isinstance(reply, Callable) else reply
