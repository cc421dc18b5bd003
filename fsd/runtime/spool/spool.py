"""The way to Drive: what is whole on the local disk is copied there in the background, and its state is always known.

"local": only on this machine's disk. "written to Drive": copied, renamed and read back on the mount, which is Drive's
cache and not yet Google. "confirmed by Google": the Drive API gives the MD5 of every file. The states are in a file
beside the local copies, so that after a kill -9 any process (`fsd sync`, the next training) goes on where it stopped.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from fsd.errors import FsdError
from fsd.runtime import files, report
from fsd.runtime.spool import deliver
from fsd.runtime.spool.heartbeat import Heartbeat
from fsd.runtime.spool.local_first import twin
from fsd.runtime.spool.state import CONFIRMED, LEVELS, LOCAL, WRITTEN, Item, SpoolState

Confirm = Callable[[Path, str], bool]
"""Whether Google has a file (its path on the mount) with that MD5; raises FsdError where that cannot be known."""
BEAT_S = 60.0
_SERIES = re.compile(r"(.+)-(\d+)")


class Spool:
    """Brings things from the local twin of a session's folder to that folder on Drive.

    confirm: asks Google, where the user granted it. remount: brings a dead Drive back, where that can be done.
    """

    def __init__(
        self,
        target: Path,
        confirm: Confirm | None = None,
        remount: Callable[[], object] | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self.target, self.local = target, twin(target)
        self.confirm, self.remount = confirm, remount
        self._stop, self._wake = Event(), Event()
        self._pause = pause or self._stop.wait
        self._thread: Thread | None = None
        self._state = SpoolState(self.local or target)
        self._beat = Heartbeat(target)
        self._said = ""

    @property
    def highest(self) -> str:
        """The highest state that can be reached here."""
        return LOCAL if self.local is None else CONFIRMED if self.confirm else WRITTEN

    def items(self) -> list[Item]:
        """Everything that was given to the spool and is still of use, in the order in which it came."""
        return [] if self.local is None else list(self._state.items().values())

    def pending(self) -> list[Item]:
        """What has not reached the highest state."""
        return [item for item in self.items() if LEVELS.index(item.state) < LEVELS.index(self.highest)]

    def add(self, name: str, keep: int = 0) -> None:
        """Take up what is whole at `name` in the local twin. keep: how many of its series are to stay on Drive.

        Does nothing for a session that is on this machine's disk, where all is in its place already.
        """
        if self.local is None:
            return
        item = Item(name, uuid.uuid4().hex, keep=keep, size_bytes=files.size_bytes(self.local / name))
        self._state.change(lambda items: (items.pop(name, None), items.update({name: item})))
        self._wake.set()

    def forget(self, name: str) -> None:
        """Say nothing more of what is about to be deleted or changed on Drive."""
        if self.local is not None and name in self._state.items():
            self._state.change(lambda items: items.pop(name, None))

    def work(self) -> None:
        """Bring everything one step further that can be; what cannot is left as it is, with the reason in its `why`."""
        if not self.pending():
            return
        with self._state.locked("work", wait=False) as mine:
            if not mine or not self._drive_lives():
                return
            for item in self.pending():
                written = self._deliver(item) if item.state == LOCAL else item
                if written and written.state == WRITTEN and self.confirm:
                    self._ask_google(written)

    def start(self) -> Spool:
        """Work in the background until `stop`."""
        if self.local is not None and self._thread is None:
            self._stop.clear()
            self._thread = Thread(target=self._run, name="spool", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the work in the background after the piece that is under way; what is left is taken up by the next spool."""
        self._stop.set()
        self._wake.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                if self.pending():
                    self.work()
                else:
                    self._drive_lives()  # so that a dead Drive is noticed, and mounted again, before it is needed
            except Exception as fault:  # the local disk fails: training itself will meet it and say so
                self._say(f"the copy to Drive stopped for now: {fault}")
            self._wake.wait(BEAT_S)

    def _drive_lives(self) -> bool:
        fault = self._beat.fault()
        if fault and self.remount:
            with suppress(FsdError):
                self.remount()
                fault = self._beat.fault()
        if fault:
            self._say(f"Drive is away ({fault}): everything is kept on this machine's disk and copied when it is back")
            self._all_wait(fault)
        elif self._said:
            self._say("")
            report.say("Drive is back: catching up")
        return not fault

    def _deliver(self, item: Item) -> Item | None:
        assert self.local is not None
        try:
            sent = deliver.deliver(self.local / item.name, self.target / item.name, self._pause)
        except deliver.SourceGone:  # a newer one took its place before it was sent
            return self._became(item, None)
        except (OSError, FsdError) as fault:
            return self._became(item, replace(item, why=_words(fault)))
        md5 = {inner: row["md5"] for inner, row in sent.items()}
        written = self._became(item, replace(item, state=WRITTEN, md5=md5, why=""))
        if written and not self.confirm:
            self._retire(written, max(item.keep, 2))  # two: the older one is safe at Google by now, the new one is not
        return written

    def _ask_google(self, item: Item) -> None:
        assert self.confirm
        try:
            missing = [
                inner for inner, md5 in item.md5.items() if not self.confirm(self.target / item.name / inner, md5)
            ]
        except (OSError, FsdError) as fault:
            self._became(item, replace(item, why=f"Google was asked in vain: {_words(fault)}"))
            return
        if missing:
            self._became(item, replace(item, why=f"Google has not yet all of {missing[0] or item.name}"))
        elif done := self._became(item, replace(item, state=CONFIRMED, why="")):
            self._retire(done, item.keep)

    def _retire(self, item: Item, keep: int) -> None:
        """Delete from Drive what is older in the item's series than the `keep` newest, itself the newest of them."""
        series = _SERIES.fullmatch(Path(item.name).name)
        if not item.keep or not series:
            return
        with suppress(OSError):  # what stays is in nobody's way
            older = sorted(
                (int(match[2]), path)
                for path in (self.target / item.name).parent.iterdir()
                if (match := _SERIES.fullmatch(path.name)) and match[1] == series[1] and int(match[2]) < int(series[2])
            )
            for _, path in older[: max(0, len(older) - keep + 1)]:
                self.forget(path.relative_to(self.target).as_posix())  # first: nothing is called written that is not
                doomed = files.temporary_beside(path)
                path.rename(doomed)
                deliver.remove(doomed)

    def _became(self, then: Item, now: Item | None) -> Item | None:
        if then != now:
            self._state.replace(then, now)
        return now

    def _all_wait(self, why: str) -> None:
        for item in self.pending():
            self._became(item, replace(item, why=why))

    def _say(self, line: str) -> None:
        if line and line != self._said:
            report.say(line)
        self._said = line


def _words(fault: Exception) -> str:
    if isinstance(fault, OSError):
        return fault.strerror or type(fault).__name__
    return str(fault).partition("\n")[0]
