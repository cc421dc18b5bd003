"""The pictures' maker as the web pages see it: jobs in, progress and pictures out. The drawing is in a process of its own."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

from fsd.errors import Interrupted, from_json
from fsd.families import FAMILIES
from fsd.families.samplers import sampler_names
from fsd.job import Control, Job, Lora
from fsd.webui import choices
from fsd.webui.choices import ModelChoice
from fsd.webui.events import Event, Picture, Progress, State
from fsd.webui.line import Line
from fsd.webui.worker_process import WorkerProcess

__all__ = ["Control", "Engine", "Event", "Job", "Lora", "ModelChoice", "Picture", "Progress", "State"]


class Engine:
    """Makes pictures, one job at a time; others wait their turn in the order they came. Safe to call from any thread.

    root: what `home()` gives: sessions in ROOT/Fast-Dreambooth/Sessions, models, LoRA and ControlNets in ROOT/WebUI/models,
    pictures in ROOT/WebUI/studio/outputs/DATE. The process that draws starts with the first job and keeps its model.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outputs = root / "WebUI" / "studio" / "outputs"
        self._previews: Path | None = None
        self._worker: WorkerProcess | None = None
        self._numbers = count(1)
        self._line = Line()
        self._state = State()

    def run(self, job: Job) -> Generator[Event, None, None]:
        """Progress and pictures of a job as they come; it ends early, without an error, when it was cancelled.

        FsdError says what is wrong with the job, the model or the machine; the engine takes the next job all the same.
        Closing the iterator cancels the job.
        """
        job = self._found(job.checked())
        number = next(self._numbers)
        with self._line.place(number):
            for before in self._line.wait(number):
                yield Progress(0, 0, text=f"waiting for {before} other job{'s' * (before > 1)}")
            yield from self._make(number, job)

    def cancel(self) -> None:
        """End the job that is being done after its present step; pictures that are whole stay. Waiting jobs go on."""
        with self._line.lock:
            if self._worker and self._state.job:
                self._worker.send({"do": "cancel", "id": self._line.head})

    def state(self) -> State:
        """What is being done now."""
        with self._line.lock:
            return replace(self._state, waiting=self._line.waiting)

    def models(self) -> list[ModelChoice]:
        """Sessions with their checkpoints, last used first, model files in the web UI's folder, and the families."""
        return choices.models(self.root)

    def loras(self) -> list[ModelChoice]:
        """LoRA files of the web UI's folder and of sessions; `spec` is what Lora.path takes."""
        return choices.loras(self.root)

    def controlnets(self) -> list[ModelChoice]:
        """ControlNet files and folders of the web UI's folder; `spec` is what Control.model takes."""
        return choices.controlnets(self.root)

    def samplers(self, family: str = "") -> list[str]:
        """The samplers' names, of those that the family can use; "" means any."""
        known = FAMILIES.get(family)
        return sampler_names(known.prediction == "flow" if known else None)

    def clear(self) -> None:
        """Let the model go once the jobs that were asked for before are done; the next job loads its own."""
        number = next(self._numbers)
        with self._line.place(number):
            deque(self._line.wait(number), maxlen=0)
            if self._worker and self._worker.running:
                self._worker.send({"do": "clear"})
            self._set(model="")

    def stop(self) -> None:
        """End the process that draws and everything that waits; a later job starts it again."""
        self._line.close()
        with self._line.lock:
            worker, self._worker = self._worker, None
            previews, self._previews = self._previews, None
            self._state = State()
        if worker:
            worker.stop()
        if previews:
            shutil.rmtree(previews, ignore_errors=True)

    def _make(self, number: int, job: Job) -> Iterator[Event]:
        worker = self._begin(number, job)
        ended = False
        try:
            while record := worker.events.get():
                if record["id"] != number:
                    continue
                if record["event"] == "end":
                    ended = True
                    self._set(model=record["model"])
                    return
                if event := self._event(record):
                    yield event
            ended = True
            if self._worker is not worker:
                raise Interrupted("the studio was stopped", "start it again")
            self._worker = None
            self._set(model="")
            raise worker.death()
        finally:
            if not ended:  # an error, or nobody wants the rest
                self._drop(worker, number)
            self._set(job=None, progress=None)

    def _begin(self, number: int, job: Job) -> WorkerProcess:
        with self._line.lock:
            if not self._worker or not self._worker.running:
                self._worker = WorkerProcess(self.root)
            self._previews = self._previews or Path(tempfile.mkdtemp(prefix="fsd-previews-"))
            self._state = replace(self._state, job=job, progress=Progress(0, 0), since=time.monotonic(), made=0)
            worker = self._worker
        folders = {"outputs": str(self.outputs), "previews": str(self._previews)}
        worker.send({"do": "make", "id": number, "job": asdict(job), **folders})
        return worker

    def _event(self, record: dict[str, Any]) -> Event | None:
        """An event of the worker as ours; raises the error that it reports."""
        kind = record["event"]
        if kind == "error":
            raise from_json(record)
        if kind == "picture":
            self._set(made=self._state.made + 1)
            return Picture(Path(record["path"]), record["infotext"], record["seed"])
        if kind in ("text", "controls"):
            progress = Progress(0, 0, text=record.get("text", ""), controls=tuple(map(Path, record.get("paths", ()))))
        else:
            shown = Path(record["preview"]) if record["preview"] else None
            progress = Progress(record["done"], record["total"], shown)
        before = self._state.progress
        kept = progress if progress.preview or not before else replace(progress, preview=before.preview)
        self._set(progress=kept)
        return progress

    def _drop(self, worker: WorkerProcess, number: int) -> None:
        """Have the worker leave a job, and wait until it has."""
        worker.send({"do": "cancel", "id": number})
        while record := worker.events.get():
            if record["id"] == number and record["event"] == "end":
                self._set(model=record["model"])
                return

    def _set(self, **changed: Any) -> None:
        with self._line.lock:
            self._state = replace(self._state, **changed)

    def _found(self, job: Job) -> Job:
        """The job with the paths of the LoRAs and ControlNets that it names."""
        known = choices.loras(self.root) if job.lora else []
        nets = choices.controlnets(self.root) if job.controls else []
        lora = tuple(replace(one, path=choices.path_of(one.path, known)) for one in job.lora)
        return replace(
            job,
            lora=lora,
            controls=tuple(replace(one, model=choices.path_of(one.model, nets)) for one in job.controls),
        )
