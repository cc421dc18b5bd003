"""What a kill left on the disk, which tells where it met the process."""

from __future__ import annotations

from pathlib import Path

from fsd.data.session import Session
from fsd.runtime.files import TEMPORARY_MARK
from fsd.runtime.spool.local_first import twin, working


class Disk:
    """A session's checkpoints of one stage; what is told of interrupted writes is of those since it was made."""

    def __init__(self, session: Session, stage: str) -> None:
        self._session, self._stage = session, stage
        self._saving, self._copying = self._partial()

    @property
    def step(self) -> int:
        """The step of the newest checkpoint, wherever it lies."""
        return max(self._newest(self._session.checkpoints), self._newest(working(self._session.checkpoints)))

    def is_behind(self) -> bool:
        """Whether Drive lacks the newest checkpoint."""
        return self._newest(self._session.checkpoints) < self.step

    def cut_save(self) -> bool:
        """Whether a save, or the deletion of an older checkpoint after it, was interrupted."""
        return bool(self._partial()[0] - self._saving)

    def cut_copy(self) -> bool:
        """Whether a copy to Drive was interrupted."""
        return bool(self._partial()[1] - self._copying)

    def _newest(self, place: Path) -> int:
        return max((int(path.name.rpartition("-")[2]) for path in place.glob(f"{self._stage}-*")), default=0)

    def _partial(self) -> tuple[set[Path], set[Path]]:
        session = self._session
        there = {path for place in (session.checkpoints, session.logs) for path in _partial(place)}
        return (_partial(working(session.checkpoints)), there) if twin(session.folder) else (there, set())


def _partial(place: Path) -> set[Path]:
    return set(place.glob(f".*{TEMPORARY_MARK}*"))
