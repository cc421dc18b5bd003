"""The process that draws for the studio: `python -m fsd.generate.worker ROOT`, JSON lines in and out.

In: {"do": "make", "id": 1, "job": {...}, "outputs": FOLDER, "previews": FOLDER}, {"do": "cancel", "id": 1},
{"do": "clear"}. Out: {"id": 1, "event": ...} with "text" (what is being done), "progress" (done, total, preview),
"controls" (paths of what the ControlNets see), "picture" (path, infotext, seed), "error" (as FsdError.to_json) and,
after each job, "end" (cancelled, model).
Lines for people go to standard error. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from fsd.errors import FsdError, Interrupted, MachineError
from fsd.generate import images
from fsd.generate.drawing import draw
from fsd.generate.opening import Opened, Shelf, shown_spec
from fsd.generate.preview import Previewer
from fsd.job import Job
from fsd.runtime import report
from fsd.runtime.files import make_folder
from fsd.runtime.handover import take

_PREVIEWS = 8
"""At most so many previews a job."""
_TRIAL_BYTES = 1 << 20
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "alloc_failed")


class Worker:
    """Does one job after the other. send: passes an event on."""

    def __init__(self, root: Path, send: Callable[..., None]) -> None:
        self._send = send
        self._shelf = Shelf(root)
        self.cancelled: set[int] = set()

    def make(self, order: dict[str, Any]) -> None:
        """Do a job, from its first event to its "end"; whatever goes wrong is an "error" event."""
        number = order["id"]
        try:
            self._make(number, order)
        except Interrupted:
            pass
        except Exception as error:
            self._send(number, "error", **_fault(error).to_json())
            if _is_memory(error):
                error.__traceback__ = None  # it holds the tensors that filled the memory
                self.clear()
        model = self._shelf.opened.name if self._shelf.opened else ""
        self._send(number, "end", cancelled=number in self.cancelled, model=model)
        self.cancelled.discard(number)

    def clear(self) -> None:
        """Let the model go."""
        self._shelf.clear()

    def _make(self, number: int, order: dict[str, Any]) -> None:
        job = Job.from_json(json.dumps(order["job"]))
        self._send(number, "text", text=f"loading {shown_spec(job.model)}")
        folder = Path(order["outputs"]) / date.today().isoformat()
        _try(folder)
        model = self._shelf.get(job.model)
        tell = self._teller(number, model, Path(order["previews"]))
        self._send(number, "text", text="")
        show = self._shower(number, Path(order["previews"]))
        for drawn in draw(model, job, tell, lambda: number in self.cancelled, show):
            with _keeping(folder):
                path = _free_path(folder, drawn.seed)
                images.save_png(drawn.image, path, {"parameters": drawn.infotext})
            self._send(number, "picture", path=str(path), infotext=drawn.infotext, seed=drawn.seed)

    def _shower(self, number: int, folder: Path) -> Any:
        def show(seen: list[Any]) -> None:
            for old in folder.glob("*-control-*.png"):
                old.unlink(missing_ok=True)
            paths = [folder / f"{number}-control-{place}.png" for place in range(len(seen))]
            for path, image in zip(paths, seen, strict=True):
                images.save_png(image, path)
            self._send(number, "controls", paths=[str(path) for path in paths])

        return show

    def _teller(self, number: int, model: Opened, folder: Path) -> Any:
        previewer = model.previewer = model.previewer or Previewer(model.pipeline)
        for old in folder.glob("*.jpg"):  # another job's: nobody looks at them any more
            old.unlink(missing_ok=True)
        last = 0

        def tell(done: int, total: int, latents: Any, size: tuple[int, int]) -> None:
            nonlocal last
            preview = ""
            if done - last >= total / _PREVIEWS and done < total:
                path = folder / f"{number}-{done}.jpg"
                preview = str(path) if previewer.write(latents, size, path) else ""
                last = done
            self._send(number, "progress", done=done, total=total, preview=preview)

        return tell


def main() -> None:
    """Serve until the input ends."""
    take()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come among the events
    report.to_standard_error()
    lock = threading.Lock()

    def send(number: int, event: str, **facts: Any) -> None:
        with lock:
            events.write(json.dumps({"id": number, "event": event, **facts}) + "\n")
            events.flush()

    worker = Worker(Path(sys.argv[1]), send)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(orders, worker), daemon=True).start()
    while True:
        order = orders.get()
        worker.clear() if order["do"] == "clear" else worker.make(order)


def _read(orders: queue.Queue[dict[str, Any]], worker: Worker) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "cancel":
            worker.cancelled.add(order["id"])
        else:
            orders.put(order)
    os._exit(0)  # nobody is there for whom to finish the picture


@contextmanager
def _keeping(folder: Path) -> Iterator[None]:
    """MachineError where the pictures' folder takes no file."""
    try:
        yield
    except OSError as fault:
        what = f"pictures cannot be kept in {folder}: {fault.strerror or fault}"
        raise MachineError(what, "free some space there, or let it be written to") from fault


def _try(folder: Path) -> None:
    """Make the pictures' folder and write to it; MachineError before anything is drawn in vain."""
    with _keeping(folder):
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(bytes(_TRIAL_BYTES))


def _free_path(folder: Path, seed: int) -> Path:
    """The next number's name in a day's folder: 00012-SEED.png."""
    numbers = [int(path.name[:5]) for path in folder.glob("*.png") if path.name[:5].isdecimal()]
    return folder / f"{max(numbers, default=0) + 1:05d}-{seed}.png"


def _fault(error: Exception) -> FsdError:
    """The error in our words; one that nobody expected goes to the log in full."""
    if isinstance(error, FsdError):
        return error
    first_line = str(error).partition("\n")[0]
    if _is_memory(error):
        hint = "make fewer or smaller pictures at a time, close other programs, or choose a smaller model"
        return MachineError(f"the memory is full: {first_line or 'no more could be had'}", hint)
    if isinstance(error, ModuleNotFoundError | ImportError):
        return MachineError(f"a package is missing: {first_line}", "install what it needs: fsd setup all")
    traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno:
        what = f"a file cannot be read or written: {error.strerror}"
        return MachineError(f"{what}: {error.filename}" if error.filename else what, "see to the disk and its rights")
    what = f"the picture could not be made: {type(error).__name__}: {first_line}"
    return MachineError(what, "try other settings; the log has the details")


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(s in text for s in _NO_MEMORY))


if __name__ == "__main__":
    main()
