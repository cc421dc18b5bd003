"""Weights that are stepped together during the backward pass, as soon as the gradients of all of them are there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

BUCKET_BYTES = 16 << 20
"""Of weights that are stepped in one call: as much more of gradients is in memory."""


class Bucket:
    """Weights, by name, that an optimizer of their own steps as soon as all of them have their gradients.

    One call steps them all: a UNet has hundreds of small weights, and a call costs more than what it computes for one.
    """

    def __init__(self, weights: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self.weights, self.optimizer = weights, optimizer
        self._lacking = len(weights)

    def ready(self) -> None:
        """One more weight has its gradient."""
        self._lacking -= 1
        if not self._lacking:
            self.step()

    def step(self) -> None:
        """Update the weights that have a gradient, and forget it."""
        self._lacking = len(self.weights)
        if any(weight.grad is not None for weight in self.weights.values()):
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def bucketed(weights: dict[str, nn.Parameter]) -> Iterator[dict[str, nn.Parameter]]:
    """The weights in their order, as many of a label at once as stay below a bucket's size; a larger one alone."""
    some: dict[str, nn.Parameter] = {}
    size_bytes, label = 0, ""
    for name, weight in weights.items():
        if some and (label != label_of(name) or size_bytes + weight.nbytes > BUCKET_BYTES):
            yield some
            some, size_bytes = {}, 0
        some[name], label = weight, label_of(name)
        size_bytes += weight.nbytes
    if some:
        yield some


def label_of(name: str) -> str:
    """The label of a weight: the first part of its name."""
    return name.partition(".")[0]
