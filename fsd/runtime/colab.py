"""Google Colab: the only file that imports google.colab. Elsewhere its functions say so or use a plain folder."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from fsd.errors import MachineError, SessionError
from fsd.runtime import report

MOUNT_POINT = Path("/content/drive")


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
    """Ask for files in the browser; return name -> content. MachineError outside Colab."""
    if not in_colab():
        raise MachineError(
            "no photos were named, and only Colab can ask for an upload", "name a folder, a file or a zip"
        )
    from google.colab import files

    uploaded = files.upload()
    if not uploaded:
        raise SessionError("no photo was uploaded", "run the cell again and choose some files")
    return dict(uploaded)


def _mount_drive() -> Path:
    from google.colab import drive

    drive_root = MOUNT_POINT / "MyDrive"
    if not drive_root.is_dir():
        report.say("Google asks you to let this notebook use your Drive: sessions are kept there")
        try:
            drive.mount(str(MOUNT_POINT))
        except Exception as fault:  # Colab raises its own MessageError, ValueError and pexpect's errors
            hint = "run the cell again and allow the access, or set FSD_HOME to a folder (lost when Colab disconnects)"
            raise MachineError(f"Google Drive could not be mounted: {fault}", hint) from fault
    if not drive_root.is_dir():
        raise MachineError(
            f"Google Drive is mounted but {drive_root} is not there", "restart the runtime and try again"
        )
    return drive_root
