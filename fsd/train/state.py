"""All that changes while a stage trains, beside its weights: optimizer, loss scale, moving average; saved and taken back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn

from fsd.runtime import report
from fsd.train.optimizer import Optimizer
from fsd.weights import checkpoint as checkpoints
from fsd.weights.checkpoint import OPTIMIZER, Checkpoint

if TYPE_CHECKING:
    from fsd.train.loop import Run, Stage

AVERAGE = "average.safetensors"


@dataclass
class State:
    """A stage's state. weights: those that change, by label and name. average: of the weights, if the recipe wants it."""

    stage: Stage
    run: Run
    weights: dict[str, nn.Parameter]
    optimizer: Optimizer
    average: EMAModel | None

    @staticmethod
    def of(stage: Stage, run: Run, start: Checkpoint | None) -> State:
        """A fresh state, or that of the checkpoint to go on from.

        Weights are stepped during the backward pass unless clipping, loss scaling or other processes forbid it.
        """
        recipe, accelerator, weights = run.recipe, run.accelerator, stage.weights()
        alone = not recipe.max_grad_norm and accelerator.scaler is None and accelerator.num_processes == 1
        optimizer = Optimizer(weights, recipe.optimizer, recipe.weight_decay, alone)
        if optimizer.whole is not None:
            optimizer.replace_whole(accelerator.prepare(optimizer.whole))
        average = EMAModel(weights.values(), decay=recipe.ema_decay) if recipe.ema_decay else None
        found = State(stage, run, weights, optimizer, average)
        if start:
            found._restore(start)
        return found

    def stepped(self) -> None:
        """Take a step's new weights into the average."""
        if self.average:
            self.average.step(self.weights.values())

    def save(self, step: int) -> str:
        """Save a step, then delete what is older than the recipe keeps; return the checkpoint's name.

        The last step needs neither optimizer nor average: there the average takes the weights' place.
        """
        run, stage, last = self.run, self.stage, step == self.stage.steps
        if not run.accelerator.is_main_process:
            run.accelerator.wait_for_everyone()
            return checkpoints.checkpoint_name(stage.name, step)
        if last and self.average:
            self.average.copy_to(self.weights.values())
        scaler = run.accelerator.scaler
        facts = {**run.facts, "scaler": scaler.state_dict() if scaler and not last else None}
        saved = checkpoints.save_checkpoint(
            run.checkpoints, stage.name, step, last, facts, lambda folder: self._write(folder, last)
        )
        checkpoints.prune(run.checkpoints, stage.name, run.recipe.save.keep)
        run.on_save(saved)
        run.accelerator.wait_for_everyone()
        return saved.name

    def _write(self, folder: Path, last: bool) -> None:
        self.stage.write(self.stage.trained, folder, last)
        if last:
            return
        save_file(self.optimizer.state(), folder / OPTIMIZER)
        if self.average:
            names, shadows = self.weights.keys(), self.average.shadow_params
            save_file(
                {name: shadow.contiguous() for name, shadow in zip(names, shadows, strict=True)}, folder / AVERAGE
            )

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
            shadow.copy_(saved[name])
