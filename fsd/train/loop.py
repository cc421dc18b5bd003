"""The one loop: batches, loss, step, save. Every stage runs it; stopping anywhere and going on gives the same bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fsd.errors import Interrupted
from fsd.recipe import TITLES, Recipe
from fsd.runtime import report
from fsd.train.compiling import settle_compiled
from fsd.train.finite import finite_mean
from fsd.train.forecast import tell_time
from fsd.train.metrics import Clock, Metrics
from fsd.train.optimizer import learning_rate_at
from fsd.train.state import State
from fsd.train.together import stop_signals
from fsd.weights.checkpoint import Checkpoint

_LOG_EVERY_STEPS = 10


@dataclass(frozen=True)
class Stage:
    """What the loop trains.

    network: all of its networks together. trained: those whose weights change, by label. learning_rates: the highest
    of each label.
    batches: the batches of a step (from 0), each whatever `loss` takes. loss: a batch's share of the step's scalar loss;
    everything random is a function of the step. write: puts the trained weights (by label and name) into a folder; at the
    end the result alone.
    """

    name: str
    steps: int
    network: nn.Module
    trained: dict[str, nn.Module]
    learning_rates: dict[str, float]
    batches: Callable[[int], list[Any]]
    loss: Callable[[Any], Tensor]
    write: Callable[[dict[str, Tensor], Path, bool], None]

    def weights(self) -> dict[str, nn.Parameter]:
        """The weights that change, by label and name."""
        return {
            f"{label}.{name}": weight
            for label, module in self.trained.items()
            for name, weight in module.named_parameters()
            if weight.requires_grad
        }

    def probe(self, step: int) -> None:
        """A pass forwards and back over a step's batches, as far as the first weight; it changes nothing."""
        first = next(iter(self.weights().values()))
        for batch in self.batches(step):
            torch.autograd.grad(self.loss(batch), first, allow_unused=True)


@dataclass(frozen=True)
class Run:
    """Where the stage runs. facts: what tells this run from another, kept in every checkpoint.

    validation: batches of fixed timesteps and noise, whose loss is watched. on_save: called with each checkpoint once it
    is whole, maybe while training goes on. on_sample: called with the checkpoint's name after each save at which samples
    are due.
    """

    recipe: Recipe
    accelerator: Accelerator
    checkpoints: Path
    metrics: Metrics
    facts: dict[str, Any]
    validation: Sequence[Any]
    on_save: Callable[[Checkpoint], None]
    on_sample: Callable[[str], None]


def train(stage: Stage, run: Run, start: Checkpoint | None) -> dict[str, Any]:
    """Train a stage from `start` (None: from the base model) to its last step; return its figures.

    The trained modules must already hold `start`'s weights. Raises Interrupted after saving when asked to stop, and
    TrainingError when the loss or the weights are no finite numbers; the last good checkpoint stays.
    """
    done = start.step if start else 0
    recipe, clock = run.recipe, Clock()
    losses: list[Tensor] = []
    finished = ""
    settle_compiled(stage, run, done)
    if run.accelerator.num_processes == 1:
        tell_time(stage, done)
    with (
        stop_signals(run.accelerator) as stopping,
        State.of(stage, run, start) as state,
        _bar(stage, run, done) as bar,
        closing(run.metrics),
    ):
        run.metrics.start(stage.name, done)
        clock.stop("preparing")
        for step in range(done, stage.steps):
            rates = _rates(stage, step, recipe)
            losses.append(_one_step(stage, step, state, rates, run))
            bar.update()
            stop, last = stopping(), step + 1 == stage.steps
            save = last or stop or _save_due(step + 1, recipe)
            validate = bool(run.validation) and (last or _due(step + 1, recipe.validation.every_steps))
            if save or validate or len(losses) == _LOG_EVERY_STEPS:
                loss = finite_mean(losses, step + 1, state.kept, run.accelerator)
                speed = len(losses) / clock.stop("training")
                valid = validation_loss(stage, run.validation) if validate else None
                clock.stop("validation")
                run.metrics.add(step + 1, loss, max(rates.values()), speed, valid)
                bar.set_postfix(loss=f"{loss:.4f}")
                losses.clear()
                state.need_saved()
            if save:
                saved = state.save(step + 1)
                clock.stop("saving")
                if last and recipe.samples.at_end:
                    finished = saved
                elif not (last or stop) and _due(step + 1, recipe.samples.every_steps):
                    state.settle()
                    run.on_sample(saved)
                    clock.stop("samples")
            if stop and not last:
                state.settle()
                raise Interrupted(
                    f"stopped after step {step + 1} of {stage.steps}; everything is saved",
                    "run the same command to go on",
                )
    clock.stop("saving")
    if finished:  # after the bar, whose speed is the training's
        run.on_sample(finished)
        clock.stop("samples")
    figures = {"stage": stage.name, "steps": stage.steps, "from_step": done, "loss": run.metrics.last_loss}
    return figures | {"seconds": clock.seconds}


def _one_step(stage: Stage, step: int, state: State, rates: dict[str, float], run: Run) -> Tensor:
    """Train on one step's batches; return its loss, of which the gradient is that of all batches together."""
    optimizer, accelerator = state.optimizer, run.accelerator
    optimizer.set_learning_rates(rates)
    batches, losses = stage.batches(step), []
    for batch in batches:
        last = batch is batches[-1]
        optimizer.next_is_last(last)
        with ExitStack() as unsynced:
            if not last:
                unsynced.enter_context(accelerator.no_sync(stage.network))
            loss = stage.loss(batch)
            accelerator.backward(loss)
        losses.append(loss.detach())
    if run.recipe.max_grad_norm:
        accelerator.clip_grad_norm_(state.weights.values(), run.recipe.max_grad_norm)
    optimizer.step()
    state.stepped()
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def _rates(stage: Stage, step: int, recipe: Recipe) -> dict[str, float]:
    """The learning rate of each label at a step."""
    return {
        label: learning_rate_at(step, stage.steps, peak, recipe.schedule, recipe.warmup_steps)
        for label, peak in stage.learning_rates.items()
    }


def _bar(stage: Stage, run: Run, done: int) -> Any:
    return report.progress(TITLES[stage.name], stage.steps, done, quiet=not run.accelerator.is_main_process)


def validation_loss(stage: Stage, batches: Sequence[Any]) -> float:
    """The mean loss of batches, of which nothing is learned."""
    for module in stage.trained.values():
        module.eval()
    with torch.no_grad():
        loss = torch.stack([stage.loss(batch) for batch in batches]).mean()
    for module in stage.trained.values():
        module.train()
    return float(loss)


def _save_due(step: int, recipe: Recipe) -> bool:
    return (step >= recipe.save.from_step and _due(step, recipe.save.every_steps)) or _due(
        step, recipe.samples.every_steps
    )


def _due(step: int, every_steps: int) -> bool:
    return bool(every_steps) and step % every_steps == 0
