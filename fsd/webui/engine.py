"""The pictures' maker as the web pages see it: jobs in, progress and pictures out. The drawing is in a process of its own."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

from fsd.errors import FsdError, Interrupted, from_json
from fsd.families import FAMILIES
from fsd.families.samplers import sampler_names
from fsd.job import Control, Job, Lora
from fsd.webui import choices
from fsd.webui.choices import ModelChoice
from fsd.webui.events import Event, Picture, Progress, State, event_of
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
        self._askers: dict[int, str] = {}
        self._line = Line()
        self._state = State()

    def run(self, job: Job, asker: str = "") -> Generator[Event, None, None]:
        """Progress and pictures of a job as they come; it ends early, without an error, when it was cancelled.

        FsdError says what is wrong with the job, the model or the machine; the engine takes the next job all the same.
        Closing the iterator cancels the job and returns at once. asker: whose job it is, for `cancel`.
        """
        job = self._found(job.checked())
        number, worker, closed = next(self._numbers), None, False
        with self._line.lock:
            self._askers[number] = asker
            self._line.join(number)
        try:
            for before in self._line.wait(number):
                yield Progress(0, 0, text=f"waiting for {before} other job{'s' * (before > 1)}")
            if worker := self._begin(number, job):
                yield from self._heard(worker, number)
        except GeneratorExit:
            closed = True
            raise
        finally:
            if worker and closed:
                threading.Thread(target=self._drop, args=(worker, number), daemon=True).start()
            else:
                self._over(number)

    def cancel(self, asker: str = "") -> None:
        """End a job after its present step; pictures that are whole stay.

        asker: all jobs of this one, also those that wait; "": the job that is being done, whosever it is.
        """
        with self._line.lock:
            begun = self._line.head if self._state.job else None
            for number in [number for number, whose in self._askers.items() if asker in (whose, "")]:
                if number != begun:
                    self._line.leave(number) if asker else None
                elif self._worker:
                    self._worker.send({"do": "cancel", "id": number})

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
        self._line.join(number)
        try:
            deque(self._line.wait(number), maxlen=0)
            if self._worker and self._worker.running:
                self._worker.send({"do": "clear"})
            self._set(model="")
        finally:
            self._line.leave(number)

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

    def _heard(self, worker: WorkerProcess, number: int) -> Iterator[Event]:
        """What the worker says of a job, to its end; raises the error that it reports, or says why it died."""
        fault: FsdError | None = None
        while record := worker.events.get():
            if record["id"] != number:
                continue
            if record["event"] == "end":
                self._set(model=record["model"])
                if fault:
                    raise fault
                return
            if record["event"] == "error":
                fault = from_json(record)
            else:
                event = event_of(record)
                with self._line.lock:
                    self._state = self._state.after(event)
                yield event
        if self._worker is not worker:
            raise Interrupted("the studio was stopped", "start it again")
        self._worker = None
        self._set(model="")
        raise worker.death()

    def _drop(self, worker: WorkerProcess, number: int) -> None:
        """Have the worker leave a job that nobody wants, and hold its place in the line until it has."""
        try:
            worker.send({"do": "cancel", "id": number})
            with suppress(FsdError):
                deque(self._heard(worker, number), maxlen=0)
        finally:
            self._over(number)

    def _over(self, number: int) -> None:
        with self._line.lock:
            del self._askers[number]
            if number == self._line.head:
                self._state = replace(self._state, job=None, progress=None)
            self._line.leave(number)

    def _begin(self, number: int, job: Job) -> WorkerProcess | None:
        """The worker, told to do the job; None if it was cancelled before its turn."""
        with self._line.lock:
            if self._line.head != number:
                return None
            if not self._worker or not self._worker.running:
                self._worker = WorkerProcess(self.root)
            self._previews = self._previews or Path(tempfile.mkdtemp(prefix="fsd-previews-"))
            self._state = replace(self._state, job=job, progress=Progress(0, 0), since=time.monotonic(), made=0)
            worker = self._worker
        folders = {"outputs": str(self.outputs), "previews": str(self._previews)}
        worker.send({"do": "make", "id": number, "job": asdict(job), **folders})
        return worker

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
