"""The pictures' maker as the web pages see it: jobs in, progress and pictures out. The drawing is in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fsd.job import Control, Job, Lora

__all__ = ["Control", "Engine", "Event", "Job", "Lora", "ModelChoice", "Picture", "Progress", "State"]


@dataclass(frozen=True)
class Progress:
    """How far a job is. done, total: steps of all its pictures. preview: a small picture file, replaced by later ones.

    text: what is done while no steps are: "waiting for 2 other jobs", "loading cup"; else "".
    """

    done: int
    total: int
    preview: Path | None = None
    text: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture that was made. path: its PNG. infotext: its settings in AUTOMATIC1111's text format, also in the PNG."""

    path: Path
    infotext: str
    seed: int = 0


Event = Progress | Picture


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be asked for. spec: what a Job takes. title: for people. kind: "session", "file" or "family".

    family: a name in FAMILIES, "" where it is not known. path: the file or folder, None for a family.
    """

    spec: str
    title: str
    kind: str
    family: str = ""
    path: Path | None = None


@dataclass(frozen=True)
class State:
    """What the engine does now. model: the one in memory, "" if none. job, progress: None while nothing is made."""

    model: str = ""
    job: Job | None = None
    progress: Progress | None = None
    waiting: int = 0


class Engine:
    """Makes pictures, one job at a time; others wait their turn in the order they came. Safe to call from any thread.

    root: what `home()` gives: sessions in ROOT/Fast-Dreambooth/Sessions, models, LoRA and ControlNets in ROOT/WebUI/models,
    pictures in ROOT/WebUI/studio/outputs/DATE. The process that draws starts with the first job and keeps its model.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outputs = root / "WebUI" / "studio" / "outputs"

    def run(self, job: Job) -> Iterator[Event]:
        """Progress and pictures of a job as they come; it ends early, without an error, when it was cancelled.

        FsdError says what is wrong with the job, the model or the machine; the engine takes the next job all the same.
        Closing the iterator cancels the job.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """End the job that is being done after its present step; pictures that are whole stay. Waiting jobs go on."""
        raise NotImplementedError

    def state(self) -> State:
        """What is being done now."""
        raise NotImplementedError

    def models(self) -> list[ModelChoice]:
        """Sessions with their checkpoints, newest first, model files in the web UI's folder, and the families."""
        raise NotImplementedError

    def loras(self) -> list[ModelChoice]:
        """LoRA files of the web UI's folder and of sessions; `spec` is what Lora.path takes."""
        raise NotImplementedError

    def controlnets(self) -> list[ModelChoice]:
        """ControlNet files and folders of the web UI's folder; `spec` is what Control.model takes."""
        raise NotImplementedError

    def samplers(self, family: str = "") -> list[str]:
        """The samplers' names, of those that the family can use; "" means any."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the process that draws and everything that waits; a later job starts it again."""
        raise NotImplementedError
