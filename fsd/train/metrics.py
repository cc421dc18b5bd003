"""metrics.jsonl: one line of figures every few steps, and the loss plot drawn from it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsd.errors import MachineError
from fsd.recipe import TITLES
from fsd.runtime import files, report

_REDRAW_S = 10.0


class Clock:
    """Where the seconds of a run go. seconds: by what they were spent on; they begin when the clock is made."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def stop(self, what: str) -> float:
        """Count the time since the last stop as spent on something, and return it."""
        now = time.monotonic()
        spent, self._since = now - self._since, now
        self.seconds[what] = self.seconds.get(what, 0.0) + spent
        return spent


@dataclass
class Metrics:
    """The figures of a session's stages in a JSON Lines file: stage, step, loss, learning_rate, steps_per_second, time,
    and validation_loss where it was measured; also as TensorBoard files, if wanted.

    path: None writes none. board: TensorBoard's folder, which has one inside for each stage; None writes none.
    """

    path: Path | None
    board: Path | None = None
    last_loss: float | None = None
    _writer: Any = field(default=None, repr=False)
    _stage: str = field(default="", repr=False)
    _failed: bool = field(default=False, repr=False)
    _drawn_s: float = field(default=-math.inf, repr=False)

    def start(self, stage: str, step: int) -> None:
        """Begin a stage after `step`: lines of the same stage from later steps, which are trained again, are dropped."""
        self._stage = stage
        if self.path is None:
            return
        kept = [row for row in read_metrics(self.path) if row["stage"] != stage or row["step"] <= step]
        files.write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        if self.board:
            self._writer = _board_writer(self.board / stage, step)

    def add(
        self, step: int, loss: float, learning_rate: float, steps_per_second: float, validation_loss: float | None
    ) -> None:
        """Append a line; `loss` is the mean since the line before. A disk that takes none is told of once."""
        self.last_loss = loss
        if self.path is None:
            return
        figures = {"loss": loss, "learning_rate": learning_rate, "steps_per_second": steps_per_second}
        figures |= {} if validation_loss is None else {"validation_loss": validation_loss}
        row = {"stage": self._stage, "step": step, **figures, "time": time.time()}
        with self._failing_quietly():
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            for name, value in figures.items() if self._writer else ():
                self._writer.add_scalar(name, value, step)

    def draw(self, destination: Path, last: bool) -> bool:
        """Draw the loss plot, which takes longer than many a step; whether it is drawn anew.

        Not within seconds of the one before, unless it is the stage's last.
        """
        if self.path is None or (not last and time.monotonic() < self._drawn_s + _REDRAW_S):
            return False
        with self._failing_quietly():
            draw_loss(self.path, destination)
            self._drawn_s = time.monotonic()
            return True
        return False

    def close(self) -> None:
        """Put on the disk what TensorBoard's writer holds back."""
        with self._failing_quietly():
            if self._writer:
                self._writer.close()

    @contextmanager
    def _failing_quietly(self) -> Iterator[None]:
        """A full disk costs figures, and not what was trained since the last save."""
        try:
            yield
        except OSError as fault:
            if not self._failed:
                report.say(f"the figures cannot be written, training goes on: {fault}")
            self._failed = True


def _board_writer(folder: Path, step: int) -> Any:
    """TensorBoard's writer, which hides what it wrote earlier of later steps; MachineError when it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        what = "tensorboard is true, which needs the package of that name, and it is not installed"
        raise MachineError(what, "pip install tensorboard, or set tensorboard=false") from None
    return SummaryWriter(str(folder), purge_step=step + 1)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a line cut short by a kill is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def draw_loss(path: Path, destination: Path) -> Path:
    """A PNG with each stage's loss and learning rate over its steps, from a metrics file."""
    from matplotlib.figure import Figure

    rows = read_metrics(path)
    stages = [stage for stage in TITLES if any(row["stage"] == stage for row in rows)]
    figure = Figure(figsize=(5 * max(1, len(stages)), 3.2), layout="constrained")
    for place, stage in enumerate(stages, start=1):
        mine = [row for row in rows if row["stage"] == stage]
        steps = [row["step"] for row in mine]
        axes = figure.add_subplot(1, len(stages), place)
        axes.set_title(TITLES[stage])
        axes.set_xlabel("step")
        axes.plot(steps, [row["loss"] for row in mine], alpha=0.35, color="tab:blue", marker=".")
        axes.plot(steps, _smooth([row["loss"] for row in mine]), color="tab:blue", label="loss")
        checked = [(row["step"], row["validation_loss"]) for row in mine if "validation_loss" in row]
        if checked:
            axes.plot(*zip(*checked, strict=True), color="tab:green", marker="o", label="validation loss")
        rates = axes.twinx()
        rates.plot(
            steps, [row["learning_rate"] for row in mine], color="tab:orange", linestyle=":", label="learning rate"
        )
        axes.legend(loc="upper left")
        rates.legend(loc="upper right")
    with files.replacing(destination) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return destination


def _smooth(values: list[float]) -> list[float]:
    """An exponential mean over about ten values."""
    smooth: list[float] = []
    for value in values:
        smooth.append(value if not smooth else 0.9 * smooth[-1] + 0.1 * value)
    return smooth
