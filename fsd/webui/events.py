"""What the engine says while it works."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsd.job import Job


@dataclass(frozen=True)
class Progress:
    """How far a job is. done, total: steps of all its pictures. preview: a small picture file, replaced by later ones.

    text: what is done while no steps are: "waiting for 2 other jobs", "loading cup"; else "". controls: once, before the
    first step, files of what the ControlNets see; they stay until the next job.
    """

    done: int
    total: int
    preview: Path | None = None
    text: str = ""
    controls: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture that was made. path: its PNG. infotext: its settings in AUTOMATIC1111's text format, also in the PNG."""

    path: Path
    infotext: str
    seed: int = 0


Event = Progress | Picture


@dataclass(frozen=True)
class State:
    """What the engine does now. model: the one in memory, "" if none. job, progress: None while nothing is made.

    since: `time.monotonic()` when the job began. made: its pictures that are done.
    """

    model: str = ""
    job: Job | None = None
    progress: Progress | None = None
    waiting: int = 0
    since: float = 0.0
    made: int = 0

    def after(self, event: Event) -> State:
        """The state once this has happened; a preview stays until there is a newer one."""
        if isinstance(event, Picture):
            return replace(self, made=self.made + 1)
        kept = self.progress.preview if self.progress else None
        return replace(self, progress=replace(event, preview=event.preview or kept))


def event_of(record: dict[str, Any]) -> Event:
    """What the drawing process says of a job, as ours: `fsd.generate.worker` lists its records."""
    kind = record["event"]
    if kind == "picture":
        return Picture(Path(record["path"]), record["infotext"], record["seed"])
    if kind in ("text", "controls"):
        return Progress(0, 0, text=record.get("text", ""), controls=tuple(map(Path, record.get("paths", ()))))
    return Progress(record["done"], record["total"], Path(record["preview"]) if record["preview"] else None)
