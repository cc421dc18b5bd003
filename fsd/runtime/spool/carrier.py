"""One thing on its way, brought one step further: copied and read back, asked for at Google, the older ones retired."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fsd.errors import FsdError
from fsd.runtime import files, report
from fsd.runtime.spool import aside, deliver, retire
from fsd.runtime.spool.state import CONFIRMED, LOCAL, WRITTEN, Item, SpoolState

Confirm = Callable[[Path, str], bool]
"""Whether Google has a file (its path on the mount) with that MD5; raises FsdError where that cannot be known."""


@dataclass(frozen=True)
class Carrier:
    """Carries items from the local twin to `target`, a session's folder on Drive, and notes in `state` how far they are."""

    target: Path
    state: SpoolState
    confirm: Confirm | None
    pause: Callable[[float], object]
    moved: Callable[[], None]

    def deliver(self, item: Item) -> Item | None:
        """The item, once it is written to Drive; None when it is not, and then it says why."""
        local, target = self.state.local / item.name, self.target / item.name
        try:
            aside.put_all_back(target.parent)
            place, sent = deliver.deliver(local, target, self.pause, self.moved)
        except deliver.SourceGone:  # a newer one took its place before it was sent
            return self.state.became(item, None)
        except (OSError, FsdError) as fault:
            self.state.became(item, replace(item, why=words(fault)))
            return None
        at = "" if place == target else place.relative_to(self.target).as_posix()
        if at:
            report.say(f"{item.name} on Drive is another machine's and stays; this machine's lies beside it as {at}")
        md5, sizes = ({inner: row[key] for inner, row in sent.items()} for key in ("md5", "size_bytes"))
        written = self.state.became(item, replace(item, state=WRITTEN, md5=md5, sizes=sizes, why="", at=at))
        if written and not self.confirm:
            self.retire(written)
        return written

    def look_again(self, item: Item) -> Item | None:
        """The item as it is now: local once more when Drive has lost it or shows other sizes; None when both lost it."""
        if deliver.sizes(self._place(item)) == item.sizes:
            return item
        if not (self.state.local / item.name).exists() or self._superseded(item):  # as when it was freed
            return self.state.became(item, None)
        report.say(f"{item.name} is no longer on Drive as it was written there: it is copied again")
        return self.state.became(item, replace(item, state=LOCAL, why="Drive has lost it"))

    def ask_google(self, item: Item) -> Item | None:
        """The item, once Google has all of it; None until then, and then it says why."""
        assert self.confirm
        try:
            missing = [inner for inner, md5 in item.md5.items() if not self.confirm(self._place(item) / inner, md5)]
        except (OSError, FsdError) as fault:
            self.state.became(item, replace(item, why=f"Google was asked in vain: {words(fault)}"))
            return None
        if missing:
            self.state.became(item, replace(item, why=f"Google has not yet all of {missing[0] or item.name}"))
            return None
        return self.state.became(item, replace(item, state=CONFIRMED, why=""))

    def retire(self, item: Item) -> None:
        """Delete from Drive what an item on it makes superfluous; one more stays while Google has not confirmed it."""
        keep = item.keep if item.state == CONFIRMED else max(item.keep, 2) if item.keep else 0
        with suppress(OSError):  # what stays is in nobody's way
            for path in retire.superseded(self._place(item), keep, self.target):
                self.state.forget(path.relative_to(self.target).as_posix())  # first: what is called written is there
                doomed = files.temporary_beside(path)
                path.rename(doomed)
                aside.remove(doomed)
            for left in retire.leftovers(self._place(item)) if keep else ():
                aside.remove(left)

    def _place(self, item: Item) -> Path:
        return self.target / (item.at or item.name)

    def _superseded(self, item: Item) -> bool:
        """Whether a newer one of the item's series is known."""
        found = retire.series(item.name)
        others = [other for name in self.state.items() if (other := retire.series(name))]
        return bool(found and any(other[0] == found[0] and other > found for other in others))


def words(fault: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(fault, OSError):
        return fault.strerror or str(fault) or type(fault).__name__
    return str(fault).partition("\n")[0]
