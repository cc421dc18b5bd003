"""The one loop: batch, loss, step, save. Both stages run it; stopping anywhere and going on gives the same bits."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fsd.errors import Interrupted, TrainingError
from fsd.recipe import Recipe
from fsd.runtime import report
from fsd.train.metrics import Metrics
from fsd.train.optimizer import Optimizer, learning_rate_at
from fsd.weights import checkpoint as checkpoints
from fsd.weights.checkpoint import Checkpoint

_LOG_EVERY_STEPS = 10


@dataclass(frozen=True)
class Stage:
    """What the loop trains.

    trained: the modules whose weights change. kept: the one that is saved as the stage's result, in its folder NAME.
    loss: the scalar loss of a step (from 0); everything random in it is a function of the step.
    """

    name: str
    steps: int
    learning_rate: float
    trained: dict[str, nn.Module]
    kept: str
    loss: Callable[[int], Tensor]


@dataclass(frozen=True)
class Run:
    """Where the stage runs. facts: what tells this run from another, kept in every checkpoint.

    on_save: called with each checkpoint once it is whole. on_sample: called with the checkpoint's name after each save at
    which samples are due.
    """

    recipe: Recipe
    accelerator: Accelerator
    checkpoints: Path
    metrics: Metrics
    facts: dict[str, Any]
    on_save: Callable[[Checkpoint], None]
    on_sample: Callable[[str], None]


def train(stage: Stage, run: Run, start: Checkpoint | None) -> dict[str, Any]:
    """Train a stage from `start` (None: from the base model) to its last step; return its figures.

    The kept module must already hold `start`'s weights. Raises Interrupted after saving when asked to stop, and
    TrainingError when the loss is not a finite number; the last good checkpoint stays.
    """
    done = start.step if start else 0
    optimizer = _make_optimizer(stage, run)
    if start:
        _restore(start, stage, optimizer, run.accelerator)
    saved_step = done
    losses: list[Tensor] = []
    finished = ""
    with _stop_signals() as stopping, report.progress(checkpoints.STAGES[stage.name], stage.steps, done) as bar:
        run.metrics.start(stage.name, done)
        for step in range(done, stage.steps):
            recipe = run.recipe
            rate = learning_rate_at(step, stage.steps, stage.learning_rate, recipe.schedule, recipe.warmup_steps)
            optimizer.set_learning_rate(rate)
            losses.append(_one_step(stage, step, optimizer, run))
            bar.update()
            last, due = step + 1 == stage.steps, _save_due(step + 1, run.recipe)
            if last or due or stopping or len(losses) == _LOG_EVERY_STEPS:
                loss = _finite_mean(losses, step + 1, saved_step)
                run.metrics.add(step + 1, loss, rate, bar.format_dict["rate"])
                bar.set_postfix(loss=f"{loss:.4f}")
                losses.clear()
            if last or due or stopping:
                saved = _save(stage, step + 1, optimizer, run)
                saved_step = saved.step
                if last and run.recipe.samples.at_end:
                    finished = saved.name
                elif not last and _sample_due(step + 1, run.recipe):
                    run.on_sample(saved.name)
            if stopping and not last:
                raise Interrupted(
                    f"stopped after step {saved_step} of {stage.steps}; everything is saved",
                    "run the same command to go on",
                )
    if finished:  # after the bar, whose speed is the training's
        run.on_sample(finished)
    return {"stage": stage.name, "steps": stage.steps, "from_step": done, "loss": run.metrics.last_loss}


def _one_step(stage: Stage, step: int, optimizer: Optimizer, run: Run) -> Tensor:
    loss = stage.loss(step)
    run.accelerator.backward(loss)
    if run.recipe.max_grad_norm:
        weights = [weight for module in stage.trained.values() for weight in module.parameters()]
        run.accelerator.clip_grad_norm_(weights, run.recipe.max_grad_norm)
    optimizer.step()
    return loss.detach()


def _make_optimizer(stage: Stage, run: Run) -> Optimizer:
    """The stage's optimizer; weights are stepped during the backward pass unless clipping or loss scaling forbids it."""
    recipe, accelerator = run.recipe, run.accelerator
    weights = {
        f"{label}.{name}": weight
        for label, module in stage.trained.items()
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }
    during_backward = not recipe.max_grad_norm and accelerator.scaler is None and accelerator.num_processes == 1
    optimizer = Optimizer(weights, recipe.optimizer, recipe.weight_decay, during_backward)
    if optimizer.whole is not None:
        optimizer.replace_whole(accelerator.prepare(optimizer.whole))
    return optimizer


def _finite_mean(losses: list[Tensor], step: int, saved_step: int) -> float:
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        hint = "lower the learning rate, or choose precision fp32 or bf16, and begin again in a new session"
        kept = f"; the last checkpoint, of step {saved_step}, may already be on the way there" if saved_step else ""
        raise TrainingError(f"the loss is {mean} at step {step}", hint + kept)
    return mean


def _save_due(step: int, recipe: Recipe) -> bool:
    return (step >= recipe.save.from_step and step % recipe.save.every_steps == 0) or _sample_due(step, recipe)


def _sample_due(step: int, recipe: Recipe) -> bool:
    every = recipe.samples.every_steps
    return bool(every) and step % every == 0


def _save(stage: Stage, step: int, optimizer: Optimizer, run: Run) -> Checkpoint:
    """Save the step, then delete what is older than the recipe keeps. The last step needs no optimizer state."""
    last = step == stage.steps
    scaler = run.accelerator.scaler

    def write(folder: Path) -> None:
        for name, module in stage.trained.items():
            if name == stage.kept or not last:
                run.accelerator.unwrap_model(module).save_pretrained(folder / name)
        if not last:
            save_file(optimizer.state(), folder / "optimizer.safetensors")

    facts = {**run.facts, "scaler": scaler.state_dict() if scaler and not last else None}
    saved = checkpoints.save_checkpoint(run.checkpoints, stage.name, step, last, facts, write)
    checkpoints.prune(run.checkpoints, stage.name, run.recipe.save.keep)
    run.on_save(saved)
    return saved


def _restore(start: checkpoints.Checkpoint, stage: Stage, optimizer: Optimizer, accelerator: Accelerator) -> None:
    state = start.folder / "optimizer.safetensors"
    kind = start.facts.get("chosen", {}).get("optimizer", optimizer.kind)
    if state.exists() and kind != optimizer.kind:
        report.say(f"{start.name} was trained with {kind}: {optimizer.kind} starts afresh from its weights")
    elif state.exists():
        optimizer.load_state(load_file(state))
    elif start.step < stage.steps:
        report.say(f"{start.name} has no optimizer state: the optimizer starts afresh from its weights")
    if accelerator.scaler and start.facts.get("scaler"):
        accelerator.scaler.load_state_dict(start.facts["scaler"])


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Yield a list that is no longer empty once SIGINT or SIGTERM came."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]
    try:
        yield came
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
