"""How long a stage will take, told before it begins."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from fsd.recipe import TITLES
from fsd.runtime import report

if TYPE_CHECKING:
    from fsd.train.loop import Stage

LEAST_STEPS = 50
"""Fewer are over before it is worth telling."""
_GRADIENTS_SHARE = 0.5
"""What the gradients of all weights cost beside a pass forwards and back: each is a third of a step's work."""


def tell_time(stage: Stage, done: int) -> None:
    """Say how many steps there are to come, and about how long they will take."""
    left = stage.steps - done
    if left >= LEAST_STEPS:
        expected = report.human_seconds(left * seconds_a_step(stage, done))
        report.say(f"{TITLES[stage.name]}: {left} steps, about {expected}, beside saves and samples")


def seconds_a_step(stage: Stage, step: int) -> float:
    """About how long a step takes: from passes forwards and back to the first weight alone, which change nothing.

    The optimizer's own time is not in it.
    """
    spent_s = 0.0
    for _ in range(2):  # the first one also warms up
        since = time.monotonic()
        stage.probe(step)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent_s = time.monotonic() - since
    trained = sum(weight.numel() for weight in stage.weights().values())
    return spent_s * (1 + _GRADIENTS_SHARE * trained / sum(weight.numel() for weight in stage.network.parameters()))
