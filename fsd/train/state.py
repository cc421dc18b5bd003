"""All that changes while a stage trains, beside its weights: optimizer, loss scale, moving average; saved and taken back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fsd.errors import FsdError, MachineError
from fsd.runtime import report
from fsd.train.finite import need_finite
from fsd.train.optimizer import Optimizer
from fsd.train.sharding import alike, is_sharded, whole
from fsd.train.together import prepared_optimizer
from fsd.weights import checkpoint as checkpoints
from fsd.weights.checkpoint import OPTIMIZER, Checkpoint

if TYPE_CHECKING:
    from fsd.train.loop import Run, Stage

AVERAGE = "average.safetensors"


@dataclass
class State:
    """A stage's state. weights: those that change, by label and name. average: of the weights, if the recipe wants it.

    saved_step: of the last checkpoint that is whole, 0 without one.
    Saves end in the background: leaving its `with` block waits for the last one.
    """

    stage: Stage
    run: Run
    weights: dict[str, nn.Parameter]
    optimizer: Optimizer
    average: EMAModel | None
    saved_step: int = 0
    _background: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _saving: Future[None] | None = None

    @staticmethod
    def of(stage: Stage, run: Run, start: Checkpoint | None) -> State:
        """A fresh state, or that of the checkpoint to go on from.

        Weights are stepped during the backward pass unless clipping, loss scaling or other processes forbid it.
        """
        recipe, accelerator, weights = run.recipe, run.accelerator, stage.weights()
        alone = not recipe.max_grad_norm and accelerator.scaler is None and accelerator.num_processes == 1
        optimizer = Optimizer(weights, recipe.optimizer, recipe.weight_decay, alone)
        if optimizer.whole is not None:
            prepared = prepared_optimizer(optimizer.whole, stage.network, accelerator)
            weights = stage.weights()  # which FSDP has replaced by shares of them
            optimizer.replace_whole(prepared, weights)
        average = EMAModel(weights.values(), decay=recipe.ema_decay) if recipe.ema_decay else None
        found = State(stage, run, weights, optimizer, average, start.step if start else 0)
        if start:
            found._restore(start)
        return found

    def __enter__(self) -> State:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._background:
            if kind is None:
                self.settle()
            else:
                self.kept()

    def stepped(self) -> None:
        """Take a step's new weights into the average."""
        if self.average:
            self.average.step(self.weights.values())

    def save(self, step: int) -> str:
        """Write a step's files and return the checkpoint's name, which it has once `settle` returns.

        What is older than the recipe keeps goes then. TrainingError, and nothing written, when the weights are no
        finite numbers. The last step needs neither optimizer nor average: there the average takes the weights' place.
        """
        run, stage, last = self.run, self.stage, step == self.stage.steps
        name = checkpoints.checkpoint_name(stage.name, step)
        need_finite(self.weights.values(), step, self.kept, run.accelerator)
        if not (run.accelerator.is_main_process or is_sharded(run.accelerator)):
            self.saved_step = step
            return name
        self.settle()
        if last and self.average:
            self.average.copy_to(self.weights.values())
        weights, more = self._gathered(last)
        if not run.accelerator.is_main_process:
            self.saved_step = step
            return name
        scaler = run.accelerator.scaler
        facts = {**run.facts, "scaler": scaler.state_dict() if scaler and not last else None}
        finish = checkpoints.begin_checkpoint(
            run.checkpoints, stage.name, step, last, facts, lambda folder: self._write(folder, last, weights, more)
        )
        self._saving = self._background.submit(self._finish, finish)
        return name

    def settle(self) -> None:
        """Return once the last save is whole; raises what it failed of."""
        saving, self._saving = self._saving, None
        if saving:
            saving.result()

    def need_saved(self) -> None:
        """Raise what a save has failed of; one that is under way goes on."""
        if self._saving and self._saving.done():
            self.settle()

    def kept(self) -> int:
        """The step of the last whole checkpoint, once no save is under way; what that one fails of is said."""
        try:
            self.settle()
        except FsdError as fault:
            report.say(str(fault))  # beside the error that ends the run
        return self.saved_step

    def _finish(self, finish: Callable[[], Checkpoint]) -> None:
        saved = finish()
        self.saved_step = saved.step
        try:
            checkpoints.prune(self.run.checkpoints, self.stage.name, self.run.recipe.save.keep)
            self.run.on_save(saved)
        except OSError as fault:
            what = f"{saved.name} is saved, but the disk failed after it: {fault}"
            raise MachineError(what, "free some space and run the same command again") from fault

    def _gathered(self, last: bool) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
        """The weights, and what is written beside them by file; whole, also where each process has a share of them.

        All that needs the other processes: of what follows each can fail alone.
        """
        weights = {name: whole(weight.detach()) for name, weight in self.weights.items()}
        if last:
            return weights, {}
        more = {OPTIMIZER: self.optimizer.state()}
        if self.average:
            shadows = zip(self.weights, self.average.shadow_params, strict=True)
            more[AVERAGE] = {name: whole(shadow).contiguous() for name, shadow in shadows}
        return weights, more

    def _write(self, folder: Path, last: bool, weights: dict[str, Tensor], more: dict[str, dict[str, Tensor]]) -> None:
        try:
            self.stage.write(weights, folder, last)
            for name, tensors in more.items():
                save_file(tensors, folder / name)
        except SafetensorError as fault:  # which is how safetensors tells of a full disk
            raise OSError(str(fault)) from fault

    def _restore(self, start: Checkpoint) -> None:
        state, optimizer, scaler = start.folder / OPTIMIZER, self.optimizer, self.run.accelerator.scaler
        kind = start.facts.get("chosen", {}).get("optimizer", optimizer.kind)
        if state.exists() and kind != optimizer.kind:
            report.say(f"{start.name} was trained with {kind}: {optimizer.kind} starts afresh from its weights")
        elif state.exists():
            optimizer.load_state(load_file(state))
        elif start.step < self.stage.steps:
            report.say(f"{start.name} has no optimizer state: the optimizer starts afresh from its weights")
        if scaler and start.facts.get("scaler"):
            scaler.load_state_dict(start.facts["scaler"])
        if self.average and (start.folder / AVERAGE).exists():
            self._restore_average(load_file(start.folder / AVERAGE), start.step)

    def _restore_average(self, saved: dict[str, Any], step: int) -> None:
        assert self.average
        self.average.optimization_step = step
        for name, shadow in zip(self.weights, self.average.shadow_params, strict=True):
            shadow.copy_(alike(saved[name], shadow))
