"""Numbers that have left what numbers can say end a run before they are saved: the last good checkpoint stays the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from accelerate import Accelerator
from torch import Tensor

from fsd.errors import TrainingError


def finite_mean(losses: list[Tensor], step: int, kept: Callable[[], int], accelerator: Accelerator) -> float:
    """The mean loss of the last steps, over all processes; TrainingError if it is no finite number.

    kept: gives the step of the last good checkpoint, 0 without one.
    """
    mean = float(accelerator.reduce(torch.stack(losses).mean(), "mean"))
    if not math.isfinite(mean):
        raise _lost(f"the loss is {mean} at step {step}", kept())
    return mean


def need_finite(weights: Iterable[Tensor], step: int, kept: Callable[[], int], accelerator: Accelerator) -> None:
    """TrainingError where a step has left weights that are no finite numbers; its loss, from before it, does not tell.

    Of weights that are dealt to several processes each looks at its own, and all know of all.
    """
    here = [weight.detach() for weight in weights]
    mine = [weight.to_local() if hasattr(weight, "to_local") else weight for weight in here]
    size = accelerator.reduce(torch.stack([weight.norm() for weight in mine]).sum(), "sum")
    if not size.isfinite():
        raise _lost(f"step {step} made weights that are no finite numbers", kept())


def _lost(what: str, kept_step: int) -> TrainingError:
    hint = "lower the learning rate, or choose precision fp32 or bf16, and begin again in a new session"
    kept = f"; or fork from the last checkpoint, of step {kept_step}, which may already be on the way there"
    return TrainingError(what, hint + kept * (kept_step > 0))
