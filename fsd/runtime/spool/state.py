"""What the spool knows, in one file that a kill leaves whole: each thing on its way to Drive, and how far it is."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fsd.errors import MachineError
from fsd.runtime import files

LOCAL, WRITTEN, CONFIRMED = "local", "written to Drive", "confirmed by Google"
LEVELS = (LOCAL, WRITTEN, CONFIRMED)
STATE = ".spool.json"


@dataclass(frozen=True)
class Item:
    """A file or folder on its way. name: its path inside the session.

    stamp: of the time it was added, anew each time. keep: how many of its series (NAME-NUMBER) stay on Drive, 0: all.
    md5, sizes (bytes): of its files, by inner path, known once it is written. why: what stopped it the last time. at: what it is
    called on Drive, if another machine has the name there.
    """

    name: str
    stamp: str
    state: str = LOCAL
    keep: int = 0
    size_bytes: int = 0
    md5: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    why: str = ""
    at: str = ""


class SpoolState:
    """The items of one local folder; every change is read, made and written under a lock of the local disk."""

    def __init__(self, local: Path) -> None:
        self.local = local

    def items(self) -> dict[str, Item]:
        """All items by name; when the file cannot be understood, all that lies there, as if it were just added.

        MachineError when the disk does not let it be read.
        """
        try:
            rows = json.loads((self.local / STATE).read_text(encoding="utf-8"))
            return {row["name"]: Item(**row) for row in rows}
        except FileNotFoundError:
            return {}
        except OSError as fault:
            raise _failed(self.local, fault) from fault
        except (ValueError, TypeError, KeyError):  # to call what it told of safe would be a lie
            return {name: Item(name, "", size_bytes=files.size_bytes(self.local / name)) for name in self._names()}

    def _names(self) -> list[str]:
        """What lies in the local folder: its files, and the folders of folders (such as its checkpoints)."""
        found = [path for path in self.local.glob("[!.]*") if path.is_file()]
        found += [path for path in self.local.glob("[!.]*/[!.]*") if not files.is_temporary(path)]
        return sorted(path.relative_to(self.local).as_posix() for path in found)

    def change(self, edit: Callable[[dict[str, Item]], Any]) -> None:
        """Let `edit` change the items by name; MachineError when the local disk does not take it."""
        try:
            with self.locked("state"):
                items = self.items()
                edit(items)
                files.write_json(self.local / STATE, [asdict(item) for item in items.values()])
        except OSError as fault:
            raise _failed(self.local, fault) from fault

    def forget(self, name: str) -> None:
        """Say nothing more of an item."""
        if name in self.items():
            self.change(lambda items: items.pop(name, None))

    def became(self, then: Item, now: Item | None) -> Item | None:
        """`now` (None: nothing), put in the place of `then` unless that was added anew meanwhile."""
        if then == now:
            return now

        def edit(items: dict[str, Item]) -> None:
            if items.get(then.name) and items[then.name].stamp == then.stamp:
                items.pop(then.name)
                if now:
                    items[now.name] = now

        self.change(edit)
        return now

    @contextmanager
    def locked(self, what: str, wait: bool = True) -> Iterator[bool]:
        """Hold a lock that ends with the process, however it ends; yields False if another has it and `wait` is not."""
        files.make_folder(self.local)
        with (self.local / f".spool-{what}.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True


def _failed(local: Path, fault: OSError) -> MachineError:
    told = f"the list of what is on its way to Drive, in {local}, cannot be kept: {fault.strerror or fault}"
    return MachineError(told, "free some space on this machine's disk; what was made is still there")
