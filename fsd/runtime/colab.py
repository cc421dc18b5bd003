"""Google Colab: the only file that imports google.colab. Elsewhere its functions say so or use a plain folder."""

from __future__ import annotations

import importlib.util
import io
import os
import tempfile
import threading
from contextlib import redirect_stdout
from pathlib import Path

from fsd.errors import MachineError, SessionError
from fsd.runtime import report

MOUNT_POINT = Path("/content/drive")
_PAGE_S = 20
_LOCAL_FOLDER = "set FSD_HOME to a folder to work without Drive (what is there is lost when Colab disconnects)"
_REMEDIES = {
    "already contain files": "files were written there before Drive was mounted: move that folder away and run again",
    "credential propagation": "run the cell again, allow pop-ups, and allow the access for the account you use in Colab",
    "timeout": "run the cell again: Drive is slow at first when its top folder holds many files",
    "domain policy": f"your organisation forbids it: use another account, or {_LOCAL_FOLDER}",
    "unsupported": f"this is not an ordinary Colab notebook: {_LOCAL_FOLDER}",
    "not supported": f"this is not an ordinary Colab notebook: {_LOCAL_FOLDER}",
    "has no attribute": "only a notebook cell can mount Drive: run the cell 'Open session', then this command again",
}
"""What to do, by a part of what google.colab.drive says."""


def in_colab() -> bool:
    """Whether this is a Colab runtime."""
    try:
        return importlib.util.find_spec("google.colab") is not None
    except ModuleNotFoundError:
        return False


def home() -> Path:
    """Where sessions are kept: FSD_HOME if set, My Drive (mounted first) on Colab, the current folder elsewhere."""
    if chosen := os.environ.get("FSD_HOME"):
        return Path(chosen)
    return _mount_drive() if in_colab() else Path.cwd()


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
        raise MachineError(f"the photos could not be uploaded: {_first_line(fault)}", hint) from fault
    if not uploaded:
        raise SessionError("no photo was uploaded", "run the cell again and choose some files")
    return {Path(name).name: content for name, content in uploaded.items()}


def secret(name: str) -> str:
    """The notebook's secret of that name; "" outside Colab, where there is none, or where it may not be read."""
    if not in_colab():
        return ""
    from google.colab import userdata

    try:
        return userdata.get(name) or ""
    except userdata.NotebookAccessError:
        report.say(f"this notebook may not read your secret {name}: switch its access on under the key symbol")
    except Exception:  # there is none; in a child process there is no page to ask, which comes in several errors
        return ""
    return ""


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
        raise MachineError(f"Colab gives no address for port {port}: {_first_line(fault)}", hint) from fault
    if not isinstance(url, str) or not url.startswith("https://"):
        raise MachineError(f"Colab gives no address for port {port}: the notebook's page does not answer", hint)
    return url.rstrip("/")


def _mount_drive() -> Path:
    """My Drive's folder, mounted if it is not, and again if its connection is lost; MachineError when it cannot be."""
    drive_root = MOUNT_POINT / "MyDrive"
    try:
        drive_root.stat()
    except (FileNotFoundError, NotADirectoryError):
        report.say("Google asks you to let this notebook use your Drive: sessions are kept there")
        _mount(force=False)
    except OSError:  # "Transport endpoint is not connected": Drive's process has died, as it does after some hours
        report.say("the connection to Google Drive was lost; mounting it again")
        _mount(force=True)
    if not drive_root.is_dir():
        raise MachineError(
            f"Google Drive is mounted but {drive_root} is not there", "restart the runtime and try again"
        )
    return drive_root


def _mount(force: bool) -> None:
    from google.colab import drive

    try:
        drive.mount(str(MOUNT_POINT), force_remount=force)
    except Exception as fault:  # Colab's MessageError, ValueError, NotImplementedError and pexpect's errors
        said = _first_line(fault)
        otherwise = f"run the cell again and allow the access, or {_LOCAL_FOLDER}"
        hint = next((remedy for part, remedy in _REMEDIES.items() if part in said.lower()), otherwise)
        raise MachineError(f"Google Drive could not be mounted at {MOUNT_POINT}: {said}", hint) from fault


def _first_line(fault: Exception) -> str:
    return str(fault).partition("\n")[0] or type(fault).__name__
