"""A wheelhouse: all wheels of a profile in one zip that is not compressed, with a manifest of sizes and SHA-256s.

That of a web UI holds what its wheels are not enough for, too: sources that are built, and packs of its repositories.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fsd.errors import DownloadError, MachineError
from fsd.runtime import files
from fsd.runtime.packages.resolve import Wheel

_FORMAT = 1
_MANIFEST = "manifest.json"
_SUFFIXES = (".whl", ".tar.gz", ".zip", ".pack")
_PIECE = 1 << 20


class Damaged(DownloadError):
    """A wheelhouse that cannot be used: the message says why."""


def path_in(root: Path, profile: str, python: str = f"{sys.version_info.major}.{sys.version_info.minor}") -> Path:
    """Where the wheelhouse of a profile lies for a Python and this kind of machine; root: the folder of all sessions."""
    kind = f"python{python}-{platform.system().lower()}-{platform.machine()}"
    return root / "Fast-Dreambooth" / "wheelhouse" / f"{profile}-{kind}.zip"


def pack(path: Path, profile: str, wheels: Iterable[Wheel]) -> int:
    """Write the wheels, which must be files here, into one file, and read it back before it takes its name; its bytes.

    Damaged when what is read back is not what was written, MachineError when it cannot be written.
    """
    rows = sorted(wheels, key=lambda wheel: wheel.name)
    try:
        with files.replacing(path) as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                archive.writestr(_MANIFEST, json.dumps(_manifest(profile, rows), indent=1))
                for row in rows:
                    archive.write(row.where, row.file)
            unpack(temporary, None)
        return path.stat().st_size
    except OSError as fault:
        what = f"all is installed, but the wheelhouse {path} cannot be written: {fault.strerror or fault}"
        raise MachineError(what, "free space there, or go on without a wheelhouse") from fault


def unpack(path: Path, folder: Path | None) -> list[Wheel]:
    """Check every wheel of a wheelhouse and lay it into a folder, or only check it; return them as files there.

    Damaged when the file cannot be read, a wheel is missing, too much, or not of its size and SHA-256.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            rows = _rows(archive)
            listed = sorted([_MANIFEST, *(row.file for row in rows)])
            if sorted(archive.namelist()) != listed:
                raise Damaged(f"the wheelhouse {path} does not hold what its manifest lists")
            return [_taken(archive, row, folder, path) for row in rows]
    except Damaged:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, NotImplementedError) as fault:
        raise Damaged(f"the wheelhouse {path} is damaged: {type(fault).__name__}: {fault}") from fault


def _manifest(profile: str, rows: list[Wheel]) -> dict[str, Any]:
    listed = [{key: value for key, value in asdict(row).items() if key != "where"} for row in rows]
    return {"format": _FORMAT, "profile": profile, "python": platform.python_version(), "wheels": listed}


def _rows(archive: zipfile.ZipFile) -> list[Wheel]:
    manifest = json.loads(archive.read(_MANIFEST))
    if manifest["format"] != _FORMAT:
        raise ValueError(f"format {manifest['format']} is not known to this fsd")
    rows = [Wheel(where="", **row) for row in manifest["wheels"]]
    for row in rows:
        if Path(row.file).name != row.file or not row.file.endswith(_SUFFIXES):
            raise ValueError(f"{row.file!r} is not the name of a file for a wheelhouse")
    return rows


def _taken(archive: zipfile.ZipFile, row: Wheel, folder: Path | None, house: Path) -> Wheel:
    """One wheel read whole, checked, and kept in the folder if there is one."""
    sum_, size_bytes = hashlib.sha256(), 0
    target = (folder / row.file).open("wb") if folder else None
    try:
        with archive.open(row.file) as source:
            while piece := source.read(_PIECE):
                sum_.update(piece)
                size_bytes += len(piece)
                if target:
                    target.write(piece)
    finally:
        if target:
            target.close()
    if (size_bytes, sum_.hexdigest()) != (row.size_bytes, row.sha256):
        raise Damaged(f"the wheelhouse {house} is damaged: {row.file} is not the file that was packed")
    return replace(row, where=str(folder / row.file)) if folder else row
