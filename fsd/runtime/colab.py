"""Google Colab: the only file that imports google.colab. Elsewhere its functions say so or use a plain folder."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path

from fsd.errors import MachineError, SessionError
from fsd.runtime import report

MOUNT_POINT = Path("/content/drive")
_PAGE_S = 20
_SILENT_S = 60.0
LIST_FILES = "https://www.googleapis.com/auth/drive.metadata.readonly"
READ_FILES = "https://www.googleapis.com/auth/drive.readonly"

_silent_until_s = 0.0
_granted: set[str] = set()


def in_colab() -> bool:
    """Whether this is a Colab runtime. Kaggle's image is made from Colab's and brings its package, too, but no Drive."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return False
    try:
        return importlib.util.find_spec("google.colab") is not None
    except ModuleNotFoundError:
        return False


def home() -> Path:
    """Where sessions are kept: see `drive.home`."""
    from fsd.runtime import drive  # which builds on this file

    return drive.home()


def upload_photos() -> dict[str, bytes]:
    """Ask for files in the browser; return name -> content. MachineError outside Colab, SessionError if none came."""
    if not in_colab():
        raise MachineError(
            "no photos were named, and only Colab can ask for an upload", "name a folder, a file or a zip"
        )
    from google.colab import files

    try:  # into a folder of its own, or Colab would leave copies in /content and number those that come again
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            uploaded = files.upload(folder)
    except Exception as fault:  # Colab's MessageError; TypeError and AttributeError where no browser answers
        hint = "run the cell again in the open notebook, or put the photos on Drive and name their folder"
        raise MachineError(f"the photos could not be uploaded: {first_line(fault)}", hint) from fault
    if not uploaded:
        raise SessionError("no photo was uploaded", "run the cell again and choose some files")
    return {Path(name).name: content for name, content in uploaded.items()}


def secret(name: str) -> str:
    """The notebook's secret of that name; "" outside Colab, where there is none, or where it may not be read.

    A page that does not answer, which takes ten seconds to learn, is not asked again for a minute.
    """
    global _silent_until_s
    if not in_colab() or time.monotonic() < _silent_until_s:
        return ""
    from google.colab import userdata

    try:
        return userdata.get(name) or ""
    except userdata.NotebookAccessError:
        report.say(f"this notebook may not read your secret {name}: switch its access on under the key symbol")
    except userdata.TimeoutException:  # driven without a page, as by Colab's own command line
        _silent_until_s = time.monotonic() + _SILENT_S
    except Exception:  # there is none; in a child process there is no page to ask, which comes in several errors
        return ""
    return ""


def asks_for_secrets() -> bool:
    """Whether the notebook's secrets can be asked for from here: in a cell of Colab's, not in a command or a child."""
    return in_colab() and "ipykernel" in sys.modules


def proxied_url(port: int) -> str:
    """The https address at which Colab shows a port of this runtime to its user, in the browser of the open notebook.

    Nobody else can open it. MachineError outside Colab, off the notebook's main thread, or when no page answers.
    """
    if not in_colab():
        raise MachineError("only Colab shows a port by itself", 'choose another tunnel, such as "cloudflared"')
    hint = 'run this in a cell of the open notebook, or choose another tunnel, such as "cloudflared"'
    if threading.current_thread() is not threading.main_thread():  # the page's answer would never come
        raise MachineError("only a cell of the notebook can ask Colab for an address", hint)
    from google.colab import output

    try:
        url = output.eval_js(f"google.colab.kernel.proxyPort({port:d})", timeout_sec=_PAGE_S)
    except Exception as fault:  # Colab's MessageError; TypeError and AttributeError where no browser answers
        raise MachineError(f"Colab gives no address for port {port}: {first_line(fault)}", hint) from fault
    if not isinstance(url, str) or not url.startswith("https://"):
        raise MachineError(f"Colab gives no address for port {port}: the notebook's page does not answer", hint)
    return url.rstrip("/")


def mount_drive(mount_point: Path, force: bool) -> None:
    """Mount Drive for writing; raises what Colab raises: MessageError, ValueError, NotImplementedError, pexpect's."""
    from google.colab import drive

    drive.mount(str(mount_point), force_remount=force)


def flush_drive(timeout_s: float) -> None:
    """Have everything written to Drive sent to Google, and unmount it; ValueError or pexpect's TIMEOUT when that fails."""
    from google.colab import drive

    drive.flush_and_unmount(timeout_ms=round(timeout_s * 1000))


def end_runtime() -> None:
    """Give this runtime back to Colab: all that is only on its disk is lost."""
    from google.colab import runtime

    runtime.unassign()


def drive_token(scope: str = LIST_FILES) -> str:
    """A token with which the Drive API tells what it holds; asks the user in the browser. Colab's errors as they are.

    scope: what it is for, LIST_FILES or READ_FILES.
    """
    from google.colab import auth

    auth.authenticate_user()
    import google.auth
    from google.auth.transport.requests import Request

    credentials, _ = google.auth.default(scopes=[scope])
    credentials.refresh(Request())
    _granted.add(scope)
    return str(credentials.token)


def drive_is_open() -> bool:
    """Whether the user has let this process see Drive's list of files, so that to ask again opens no window."""
    return LIST_FILES in _granted


def first_line(fault: Exception) -> str:
    """What an error says, in one line."""
    return str(fault).partition("\n")[0] or type(fault).__name__
