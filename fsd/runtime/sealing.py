"""How a folder becomes a checkpoint: sealed with a list of its files, given its name in one step, gone in one step."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsd.runtime import files
from fsd.runtime.lock_record import this_machine

MANIFEST = "checkpoint.json"


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Put every file on the disk, then write the manifest that lists them, and says which machine sealed it and when."""
    listed = {}
    for file in files.files_under(folder):
        files.sync(file)
        listed[str(file.relative_to(folder))] = {"size_bytes": file.stat().st_size, "sha256": files.sha256(file)}
    for inner in {file.parent for file in files.files_under(folder)}:
        files.sync(inner)
    writer = this_machine() | {"sealed": datetime.now(UTC).isoformat(timespec="milliseconds")}
    files.write_json(folder / MANIFEST, manifest | {"writer": writer, "files": listed})


def writer(folder: Path) -> dict[str, str]:
    """The machine that sealed a folder, and when; empty where nothing says so."""
    return dict(_read(folder).get("writer") or {})


def is_whole(folder: Path) -> bool:
    """Whether every file that a folder's manifest lists is there with its size; their bytes are not read."""
    listed = _read(folder).get("files") or {}
    there = {name: (folder / name).stat().st_size for name in listed if (folder / name).is_file()}
    return bool(listed) and there == {name: row["size_bytes"] for name, row in listed.items()}


def differing(folder: Path, found: dict[str, dict[str, Any]]) -> str:
    """The first file that was not found as a folder's manifest lists it; "" if all were. found: by inner path."""
    listed = _read(folder).get("files") or {MANIFEST: {"sha256": "of a manifest that lists files"}}
    wrong = (name for name, row in listed.items() if row.items() - found.get(name, {}).items())
    return str(next(wrong, ""))


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def rename_over(temporary: Path, final: Path) -> None:
    """Give `temporary` the name `final`; what had that name (a damaged or forked checkpoint) goes only then."""
    old = None
    if final.exists():
        old = files.temporary_beside(final)
        final.rename(old)
    temporary.rename(final)
    files.sync(final.parent)
    if old:
        shutil.rmtree(old)


def discard(folder: Path) -> None:
    """Delete a folder so that a crash in the middle leaves nothing under its name."""
    doomed = files.temporary_beside(folder)
    os.rename(folder, doomed)
    shutil.rmtree(doomed)
