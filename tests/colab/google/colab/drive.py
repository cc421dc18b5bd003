"""Google Drive as a folder: MOUNTPOINT/MyDrive."""

import os
from pathlib import Path

from google.colab import _message

__all__ = ["flush_and_unmount", "mount"]

fault = ""
"""What the drive process says when it fails, such as "mount failed"; empty when it works."""
hostname = "stand-in"
"""What /var/colab/hostname holds; empty where the machine is none of Colab's, such as a local runtime."""
_mounted: set[str] = set()


def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    """Mount your Google Drive at the specified mountpoint path."""
    if " " in mountpoint:
        raise ValueError("Mountpoint must not contain a space.")
    if not hostname:
        raise NotImplementedError("Mounting drive is unsupported in this environment.")
    if os.environ.get("VERTEX_PRODUCT") == "COLAB_ENTERPRISE":
        raise NotImplementedError("google.colab.drive.mount is not supported in Colab Enterprise.")
    _message.blocking_request("request_auth", {"authType": "dfs_ephemeral"}, int(timeout_ms / 1000))
    folder = Path(mountpoint).expanduser()
    if not force_remount and mountpoint in _mounted and (folder / "MyDrive").is_dir():
        print(
            f"Drive already mounted at {mountpoint}; to attempt to forcibly "
            f'remount, call drive.mount("{mountpoint}", force_remount=True).'
        )
        return
    if mountpoint not in _mounted:
        _check(folder)
    if fault:
        raise ValueError(fault)
    for top in ("MyDrive", "Shareddrives"):
        (folder / top).mkdir(parents=True, exist_ok=True)
        (folder / top).chmod(0o555 if readonly else 0o755)
    _mounted.add(mountpoint)
    print(f"Mounted at {mountpoint}")


def flush_and_unmount(timeout_ms=24 * 60 * 60 * 1000):
    """Unmount Google Drive and flush any outstanding writes to it."""
    if not _mounted:
        print("Drive not mounted, so nothing to flush and unmount.")
        return
    if fault:
        raise ValueError("flush_and_unmount failed")
    _mounted.clear()


def _check(folder: Path) -> None:
    if folder.is_symlink():
        raise ValueError("Mountpoint must not be a symlink")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError("Mountpoint must not already contain files")
    if folder.exists() and not folder.is_dir():
        raise ValueError("Mountpoint must either be a directory or not exist")
    if not folder.parent.exists():
        raise ValueError("Mountpoint must be in a directory that exists")
