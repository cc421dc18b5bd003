"""Files that survive: written under a temporary name, synced, renamed, read back."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsd.errors import MachineError
from fsd.runtime import colab

TEMPORARY_MARK = ".partial-"
WRITES = 3
LOOK_AGAIN_S = (0.0, 0.2, 1.0)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def temporary_beside(path: Path) -> Path:
    """A name of its own beside `path`, on the same file system, that `is_temporary` recognises."""
    return path.with_name(f".{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:8]}")


def is_temporary(path: Path) -> bool:
    """Whether `path` is what an interrupted write left behind."""
    return path.name.startswith(".") and TEMPORARY_MARK in path.name


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; MachineError where Drive should be mounted and is not.

    A folder made there would be lost with the machine, and Colab mounts Drive over none that holds something.
    """
    need_mounted(folder)
    folder.mkdir(parents=True, exist_ok=True)


def need_mounted(path: Path) -> None:
    """MachineError where a path is on Drive, and Drive is not mounted."""
    mount_point, absolute = colab.MOUNT_POINT, Path(os.path.abspath(path))
    if absolute.is_relative_to(mount_point):
        inner = absolute.relative_to(mount_point).parts
        if not inner or not (mount_point / inner[0]).is_dir():
            raise MachineError(f"Google Drive is not mounted at {mount_point}", "run the cell 'Open session' first")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file name; on a clean exit its synced content takes the name `path`, otherwise nothing changes."""
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all, and read it back; OSError when it does not come back as written.

    Drive has been seen to empty a file when it is renamed, and to show it late: it is looked for again, then written
    again.
    """
    for _ in range(WRITES):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        if _comes_back(path, content):
            return
    raise OSError(errno.EIO, "what was written does not come back", str(path))


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path` whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON to `path` whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sync(path: Path) -> None:
    """Ask the operating system to put a file or a folder's entries on the disk; of a folder Drive need not know how."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as fault:
        if fault.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _comes_back(path: Path, content: bytes) -> bool:
    for pause_s in LOOK_AGAIN_S:
        time.sleep(pause_s)
        with suppress(FileNotFoundError):
            return path.read_bytes() == content
    return False


def files_under(folder: Path) -> list[Path]:
    """Every file below `folder`, sorted, without what interrupted writes left behind."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_temporary(Path(name))]
        found += [Path(root, name) for name in names if not is_temporary(Path(name))]
    return sorted(found)


def size_bytes(path: Path) -> int:
    """The bytes that a file, or all files below a folder, hold; of a link its own, of what has just gone none."""
    files = files_under(path) if path.is_dir() and not path.is_symlink() else [path]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def remove_folder(folder: Path) -> int:
    """Delete a folder that may not exist; return the bytes freed."""
    freed = size_bytes(folder) if folder.exists() else 0
    shutil.rmtree(folder, ignore_errors=True)
    return freed


def clear_temporary(folder: Path) -> int:
    """Remove what interrupted writes left directly in `folder`; return the bytes freed."""
    freed = 0
    for path in folder.glob(f".*{TEMPORARY_MARK}*"):
        with suppress(FileNotFoundError):
            freed += size_bytes(path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
    return freed
