"""Google Drive as a folder: MOUNTPOINT/MyDrive. What is on it stays in a folder beside it while it is not mounted."""

import os
from pathlib import Path

from google.colab import _message

__all__ = ["flush_and_unmount", "mount"]

fault = ""
"""What the drive process says when it fails, such as "mount failed"; empty when it works."""
hostname = "stand-in"
"""What /var/colab/hostname holds; empty where the machine is none of Colab's, such as a local runtime."""
_TOPS = ("MyDrive", "Shareddrives", ".shortcut-targets-by-id")
_MARK = ".shortcut-targets-by-id"
"""What a mounted Drive has and a folder that somebody made does not: a new kernel sees by it that Drive is mounted."""
_mounted: set[str] = set()


def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    """Mount your Google Drive at the specified mountpoint path."""
    if not hostname:
        raise NotImplementedError(
            "Mounting drive is unsupported in this environment. Use PyDrive2 instead. See examples at"
            " https://colab.research.google.com/notebooks/io.ipynb#scrollTo=7taylj9wpsA2."
        )
    if " " in mountpoint:
        raise ValueError("Mountpoint must not contain a space.")
    if os.environ.get("VERTEX_PRODUCT") == "COLAB_ENTERPRISE":
        raise NotImplementedError("google.colab.drive.mount is not supported in Colab Enterprise.")
    _message.blocking_request("request_auth", {"authType": "dfs_ephemeral"}, int(timeout_ms / 1000))
    mountpoint = os.path.expanduser(mountpoint)
    folder = Path(mountpoint)
    if not force_remount and (folder / _MARK).is_dir():
        print(
            f"Drive already mounted at {mountpoint}; to attempt to forcibly "
            f'remount, call drive.mount("{mountpoint}", force_remount=True).'
        )
        _mounted.add(mountpoint)
        return
    if (folder / _MARK).is_dir():
        _unmount(folder)
    _check(folder)
    if fault:
        raise ValueError(fault)
    _put_in(folder, 0o555 if readonly else 0o755)
    _mounted.add(mountpoint)
    print(f"Mounted at {mountpoint}")


def flush_and_unmount(timeout_ms=24 * 60 * 60 * 1000):
    """Unmount Google Drive and flush any outstanding writes to it."""
    if not _mounted:
        print("Drive not mounted, so nothing to flush and unmount.")
        return
    if fault:
        raise ValueError("flush_and_unmount failed")
    while _mounted:
        _unmount(Path(_mounted.pop()))


def _put_in(folder: Path, mode: int) -> None:
    """What Drive holds appears in the mount point."""
    folder.mkdir(exist_ok=True)
    for top in _TOPS:
        _cloud(folder).joinpath(top).mkdir(parents=True, exist_ok=True)
        _cloud(folder).joinpath(top).rename(folder / top)
        (folder / top).chmod(mode)


def _unmount(folder: Path) -> None:
    """The mount point is empty again."""
    _cloud(folder).mkdir(exist_ok=True)
    for top in _TOPS:
        (folder / top).chmod(0o755)
        (folder / top).rename(_cloud(folder) / top)


def _cloud(folder: Path) -> Path:
    """Where Drive's files are while they are in no mount point."""
    return folder.with_name(f".{folder.name}-cloud")


def _check(folder: Path) -> None:
    if folder.is_symlink():
        raise ValueError("Mountpoint must not be a symlink")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError("Mountpoint must not already contain files")
    if folder.exists() and not folder.is_dir():
        raise ValueError("Mountpoint must either be a directory or not exist")
    if not folder.parent.exists():
        raise ValueError("Mountpoint must be in a directory that exists")
