"""The way to Drive: what is whole on the local disk is copied there in the background, and its state is always known.

"local": only on this machine's disk. "written to Drive": copied, renamed and read back on the mount, which is Drive's
cache and not yet Google. "confirmed by Google": the Drive API gives the MD5 of every file. The states are in a file
beside the local copies, so that after a kill -9 any process (`fsd sync`, the next training) goes on where it stopped.
All that touches Drive is done in a thread that is given up on when Drive no longer answers, and not while another machine
holds the session's lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from fsd.errors import FsdError
from fsd.runtime import files, report
from fsd.runtime.lock_record import elsewhere, who
from fsd.runtime.patience import Patience
from fsd.runtime.spool.carrier import Carrier, Confirm, words
from fsd.runtime.spool.heartbeat import Heartbeat
from fsd.runtime.spool.local_first import twin
from fsd.runtime.spool.state import CONFIRMED, LEVELS, LOCAL, WRITTEN, Item, SpoolState
from fsd.runtime.spool.turn import is_stale

BEAT_S = 60.0
MOST_BEATS = 32
"""How many beats pass at most before what Drive did not take is tried again."""
STUCK_S = 300.0
"""How long one step of the copying (8 MiB, a rename) may take before Drive is said to answer no more."""


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
        self._thread: Thread | None = None
        self._state = SpoolState(self.local or target)
        self._beat = Heartbeat(target)
        self._patience = Patience(STUCK_S)
        self._carrier = Carrier(target, self._state, confirm, pause or self._stop.wait, self._patience.moved)
        self._said = ""
        self._doubt = True

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

    @property
    def unsure(self) -> bool:
        """Whether something is called written that was not looked for since this began, or since Drive was away."""
        return self._doubt and any(item.state == WRITTEN for item in self.items())

    def add(self, name: str, keep: int = 0) -> None:
        """Take up what is whole at `name` in the local twin. keep: how many of its series are to stay on Drive.

        Does nothing for a session that is on this machine's disk, where all is in its place already.
        """
        if self.local is None:
            return
        item = Item(name, uuid.uuid4().hex, keep=keep, size_bytes=files.size_bytes(self.local / name))
        self._state.change(lambda items: (items.pop(name, None), items.update({name: item})))
        self._wake.set()

    def place(self, name: str) -> Path:
        """Where something lies now: on Drive once it is written there, until then on this machine's disk."""
        item = None if self.local is None else self._state.items().get(name)
        if self.local is None or item is None:
            return self.target / name
        return self.local / name if item.state == LOCAL else self.target / (item.at or name)

    def forget(self, name: str) -> None:
        """Say nothing more of what is about to be deleted or changed on Drive."""
        if self.local is not None:
            self._state.forget(name)

    def work(self) -> None:
        """Bring everything one step further that can be; what cannot is left as it is, with the reason in its `why`.

        Ends when Drive does not, after `STUCK_S`.
        """
        if not (self.pending() or self.unsure) or not self._drive_lives():
            return
        try:
            if self._doubt:
                self._look_again()
            for item in self.pending():
                written = self._on_drive(self._carrier.deliver, item) if item.state == LOCAL else item
                confirmed = self._carrier.ask_google(written) if written and self.confirm else None
                if confirmed:
                    self._on_drive(self._carrier.retire, confirmed)
        except OSError as fault:
            self._away(words(fault))

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
            self._thread.join()  # which ends: see `work`
            self._thread = None
        self._stop.clear()  # so that who goes on without a thread has time to wait for what Drive shows late

    def _run(self) -> None:
        left, beats = self.items(), 1
        while not self._stop.is_set():
            self._wake.clear()
            try:
                if self.pending():
                    self.work()
                else:
                    self._drive_lives()  # so that a dead Drive is noticed, and mounted again, before it is needed
                left = self.pending()
            except Exception as fault:  # the local disk fails: training itself will meet it and say so
                self._say(f"the copy to Drive stopped for now: {fault}")
            beats = min(2 * beats, MOST_BEATS) if left else 1  # a full Drive takes gigabytes before it says so
            self._wake.wait(beats * BEAT_S)

    def _drive_lives(self) -> bool:
        fault = self._beat.fault()
        if fault and self.remount:
            with suppress(FsdError):
                self.remount()
                fault = self._beat.fault()
        if fault:
            self._away(fault)
        elif self._said:
            self._say("")
            report.say("Drive is back: catching up")
        return not fault

    def _away(self, fault: str) -> None:
        self._doubt = True
        self._say(f"Drive is away ({fault}): everything is kept on this machine's disk and copied when it is back")
        for item in self.pending():
            self._state.became(item, replace(item, why=fault))

    def _look_again(self) -> None:
        for item in self.items():
            if item.state == WRITTEN:
                self._on_drive(self._carrier.look_again, item)
        self._doubt = False

    def _on_drive(self, do: Callable[[Item], Item | None], item: Item) -> Item | None:
        """Do one thing on Drive, unless another process here is doing so, it is done, or another machine writes."""

        def alone() -> Item | None:
            with self._state.locked("work", wait=False) as mine:
                now = self._state.items().get(item.name) if mine else None
                if now is None or (now.stamp, now.state) != (item.stamp, item.state):
                    return None
                if other := elsewhere(self.target):
                    self._state.became(item, replace(item, why=f"{who(other)} writes the session now"))
                    return None
                if is_stale(self.target):
                    self._state.became(item, replace(item, why="another machine has written to the session since"))
                    return None
                return do(item)

        return self._patience.run(alone)

    def _say(self, line: str) -> None:
        if line and line != self._said:
            report.say(line)
        self._said = line
