"""What can go from a session's folder to make room, largest first, and its going."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsd.recipe import TITLES
from fsd.runtime import files, report
from fsd.runtime.sealing import discard
from fsd.runtime.spool.local_first import twin
from fsd.runtime.spool.spool import Spool
from fsd.runtime.spool.state import CONFIRMED, WRITTEN
from fsd.weights import checkpoint, set_aside

KINDS = {
    "cache": "latents, made again by the next training",
    "leftovers": "what interrupted work left behind",
    "checkpoints": "checkpoints older than the newest whole one",
    "optimizer": "optimizer states of finished stages",
    "local": "copies on this machine's disk of what Google has confirmed",
    "unconfirmed": "copies on this machine's disk of what is written to Drive, which Google has not confirmed",
    "aside": "what this machine held when another had gone on with the session",
    "photos_aside": "photos that were set aside",
    "originals": "photos as they were before they were turned, to which an undo goes back",
    "bin": "sessions that were removed",
}
"""What can go, by the name under which it is freed."""
SURE = ("cache", "leftovers", "checkpoints", "optimizer", "local")
"""What can go without a loss. The others are freed only when they are named."""
UNTOUCHED_S = 24 * 60 * 60


@dataclass(frozen=True)
class Removable:
    """One thing that can go. kind: one of KINDS. session: its folder. checkpoint: whose optimizer state it is."""

    kind: str
    path: Path
    size_bytes: int
    session: Path
    checkpoint: checkpoint.Checkpoint | None = None

    def to_json(self) -> dict[str, Any]:
        """The thing as plain JSON values."""
        return {"kind": self.kind, "path": str(self.path), "size_bytes": self.size_bytes, "why": KINDS[self.kind]}


def removable(session: Path, say: Callable[[str], None]) -> list[Removable]:
    """What can go from a session's folder, largest first; the newest whole checkpoint of each stage never does.

    The newest checkpoints are read and verified, which takes a while. Leftovers younger than a day beside the session,
    which another process may be writing, are left out.
    """
    found = [(kind, session / kind) for kind in ("cache", "photos_aside", "originals")]
    found += [("bin", path) for path in _folders(session.parent.parent / "bin")]
    found += [("leftovers", path) for place in (session, session / "checkpoints") for path in _temporary(place)]
    found += [("leftovers", path) for path in _temporary(session.parent) if _untouched_s(path) > UNTOUCHED_S]
    rows = [Removable(kind, path, files.size_bytes(path), session) for kind, path in found if path.exists()]
    for stage in TITLES:
        newest, older = checkpoint.superseded(session / "checkpoints", stage, say)
        rows += [Removable("checkpoints", folder, files.size_bytes(folder), session) for folder in older]
        if newest and newest.done and (state := newest.folder / checkpoint.OPTIMIZER).is_file():
            rows.append(Removable("optimizer", state, state.stat().st_size, session, newest))
    rows += [Removable("aside", path, size_bytes, session) for path, size_bytes in set_aside.kept(session)]
    rows += _local_copies(session)
    return sorted((row for row in rows if row.size_bytes), key=lambda row: -row.size_bytes)


def as_table(rows: list[Removable]) -> str:
    """The rows for people: each with its size, its place and why it can go."""
    lines = [[row.kind, report.human_bytes(row.size_bytes), str(row.path), KINDS[row.kind]] for row in rows]
    return report.table(lines, ["what", "size", "where", "why it can go"])


def free(rows: list[Removable], kinds: Collection[str]) -> int:
    """Delete those of the rows that are of these kinds; return the bytes freed. The session must be locked."""
    freed = 0
    for row in rows:
        if row.kind not in kinds:
            continue
        if row.kind in ("checkpoints", "optimizer"):
            folder = row.checkpoint.folder if row.checkpoint else row.path
            Spool(row.session).forget(folder.relative_to(row.session).as_posix())
        if row.kind == "aside":
            freed += set_aside.drop(row.session, row.path.name)
        elif row.checkpoint:
            freed += checkpoint.drop_optimizer(row.checkpoint)
        elif row.path.is_file():
            row.path.unlink()
            freed += row.size_bytes
        else:
            discard(row.path)
            freed += row.size_bytes
    return freed


def _local_copies(session: Path) -> list[Removable]:
    local, kinds = twin(session), {CONFIRMED: "local", WRITTEN: "unconfirmed"}
    if local is None:
        return []
    done = [(kinds[item.state], local / item.name) for item in Spool(session).items() if item.state in kinds]
    return [Removable(kind, path, files.size_bytes(path), session) for kind, path in done if path.exists()]


def _folders(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_dir()] if place.is_dir() else []


def _temporary(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if files.is_temporary(path)] if place.is_dir() else []


def _untouched_s(path: Path) -> float:
    with suppress(FileNotFoundError):
        return time.time() - path.lstat().st_mtime
    return 0.0
