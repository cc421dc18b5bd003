"""What may go from Drive once something newer of its series is safe there: never the last good one, nor another's."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from fsd.runtime import files, sealing
from fsd.runtime.lock_record import LOCK_NAME, is_here, read

_SERIES = re.compile(r"(.+)-(\d+)")


def series(name: str) -> tuple[str, int] | None:
    """What comes before an item's number, and the number; None for one that has none."""
    match = _SERIES.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def superseded(newest: Path, keep: int, session: Path) -> list[Path]:
    """The folders that are older in a series (NAME-NUMBER) than `newest` and than those that stay, oldest first.

    `keep` whole ones stay, `newest` among them; while there are fewer, all stay. What another machine sealed after this
    one became the session's writer stays and does not count: neither saw the other's lock in time.
    """
    mine = series(newest.name)
    if not keep or not mine:
        return []
    since = _since(session)
    found = [(series(path.name), path) for path in newest.parent.iterdir()]
    numbered = sorted((other[1], path) for other, path in found if other and other[0] == mine[0] and other < mine)
    older = [path for _, path in numbered if not _is_rivals(path, since)]
    whole = [path for path in older if sealing.is_whole(path)]
    if len(whole) < keep - 1:
        return []
    stay = set(whole[len(whole) - (keep - 1) :])
    return [path for path in older if path not in stay]


def leftovers(newest: Path) -> list[Path]:
    """What interrupted deliveries and deletions of older ones of a series left beside `newest`."""
    mine, found = series(newest.name), newest.parent.glob(f".*{files.TEMPORARY_MARK}*")
    named = [(series(path.name[1:].partition(files.TEMPORARY_MARK)[0]), path) for path in found]
    return [path for other, path in named if mine and other and other[0] == mine[0] and other < mine]


def _is_rivals(path: Path, since: str) -> bool:
    writer = sealing.writer(path)
    return bool(writer) and not is_here(writer) and writer.get("sealed", "") > since


def _since(session: Path) -> str:
    """Since when this machine is the session's writer (UTC); now, if it is not, and then nobody is."""
    lock = read(session / LOCK_NAME) or {}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return str(lock.get("since", now)) if is_here(lock) else now
