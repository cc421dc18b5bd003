"""What the spool knows, in one file that a kill leaves whole: each thing on its way to Drive, and how far it is."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fsd.runtime import files

LOCAL, WRITTEN, CONFIRMED = "local", "written to Drive", "confirmed by Google"
LEVELS = (LOCAL, WRITTEN, CONFIRMED)
STATE = ".spool.json"


@dataclass(frozen=True)
class Item:
    """A file or folder on its way. name: its path inside the session.

    stamp: of the time it was added, anew each time. keep: how many of its series (NAME-NUMBER) stay on Drive, 0: all.
    md5: of its files, by inner path, known once it is written. why: what stopped it the last time.
    """

    name: str
    stamp: str
    state: str = LOCAL
    keep: int = 0
    size_bytes: int = 0
    md5: dict[str, str] = field(default_factory=dict)
    why: str = ""


class SpoolState:
    """The items of one local folder; every change is read, made and written under a lock of the local disk."""

    def __init__(self, local: Path) -> None:
        self.local = local

    def items(self) -> dict[str, Item]:
        """All items by name; none when nothing was ever added, or when the file cannot be understood."""
        try:
            rows = json.loads((self.local / STATE).read_text(encoding="utf-8"))
            return {row["name"]: Item(**row) for row in rows}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def change(self, edit: Callable[[dict[str, Item]], Any]) -> None:
        """Let `edit` change the items by name."""
        self.local.mkdir(parents=True, exist_ok=True)
        with self.locked("state"):
            items = self.items()
            edit(items)
            files.write_json(self.local / STATE, [asdict(item) for item in items.values()])

    def replace(self, then: Item, now: Item | None) -> None:
        """Put `now` (None: nothing) in the place of `then`, unless it was added anew meanwhile."""

        def edit(items: dict[str, Item]) -> None:
            if items.get(then.name) and items[then.name].stamp == then.stamp:
                items.pop(then.name)
                if now:
                    items[now.name] = now

        self.change(edit)

    @contextmanager
    def locked(self, what: str, wait: bool = True) -> Iterator[bool]:
        """Hold a lock that ends with the process, however it ends; yields False if another has it and `wait` is not."""
        self.local.mkdir(parents=True, exist_ok=True)
        with (self.local / f".spool-{what}.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
