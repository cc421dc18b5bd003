"""How a folder becomes a checkpoint: sealed with a list of its files, given its name in one step, gone in one step."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from fsd.runtime import files

MANIFEST = "checkpoint.json"


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Put every file on the disk, then write the manifest that lists them."""
    listed = {}
    for file in files.files_under(folder):
        files.sync(file)
        listed[str(file.relative_to(folder))] = {"size_bytes": file.stat().st_size, "sha256": files.sha256(file)}
    for inner in {file.parent for file in files.files_under(folder)}:
        files.sync(inner)
    files.write_json(folder / MANIFEST, manifest | {"files": listed})


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
