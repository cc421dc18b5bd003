"""bitsandbytes' optimizers as training uses them: on a CPU a slice of a weight at a time, on a GPU without a pause.

On a CPU its kernels unpack a weight's whole 8-bit state, and keep several copies of it: with a full-size SD 1.5 UNet the peak
is 0.3 GB higher. Blocks of 256 numbers know nothing of each other, so slices of whole blocks give the same bits.

On a GPU it waits after each weight until all work there is done, as only its paged optimizers need it: during the backward
pass that would be hundreds of times a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

SLICE = 1 << 22
"""Numbers at once: many times bitsandbytes' block."""
_BLOCK = 256


def adapted(kind: type[Any]) -> type[Any]:
    """An optimizer of bitsandbytes, not one of its paged ones, that does so."""

    class Adapted(kind):
        def step(self, closure: Any = None) -> Any:
            with _without_waiting():
                return super().step(closure)

        def update_step(self, group: dict[str, Any], weight: nn.Parameter, *place: int) -> None:
            whole = self.state[weight]
            if weight.device.type != "cpu" or "absmax1" not in whole or weight.numel() <= SLICE:
                super().update_step(group, weight, *place)
                return
            weight.data = weight.data.contiguous()  # as bitsandbytes does
            numbers, gradient = weight.data.view(-1), weight.grad.contiguous().view(-1)
            for start in range(0, weight.numel(), SLICE):
                part = nn.Parameter(numbers[start : start + SLICE], requires_grad=False)
                part.grad = gradient[start : start + SLICE]
                self.state[part] = {name: _slice(name, value, start) for name, value in whole.items()}
                super().update_step(group, part, *place)
                step = self.state.pop(part)["step"]
            whole["step"] = step

    Adapted.__name__ = kind.__name__
    return Adapted


@contextmanager
def _without_waiting() -> Iterator[None]:
    from bitsandbytes.optim import optimizer

    wait = getattr(optimizer, "sync_gpu", None)  # which older versions have not
    if wait is None:
        yield
        return
    optimizer.sync_gpu = lambda tensor: None
    try:
        yield
    finally:
        optimizer.sync_gpu = wait


def _slice(name: str, value: Any, start: int) -> Any:
    """A slice of what a weight's state holds: a code a number, a scale a block, and what is of the whole weight."""
    if name in ("state1", "state2"):
        return value.view(-1)[start : start + SLICE]
    if name in ("absmax1", "absmax2"):
        return value[start // _BLOCK : (start + SLICE) // _BLOCK]
    return value
