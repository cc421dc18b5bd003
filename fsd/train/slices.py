"""bitsandbytes' 8-bit optimizers on a CPU, a slice of a weight at a time.

There its kernels unpack a weight's whole state, and keep several copies of it: with a full-size SD 1.5 UNet the peak is 0.3 GB
higher. Blocks of 256 numbers know nothing of each other, so slices of whole blocks give the same bits.
"""

from __future__ import annotations

from typing import Any

from torch import nn

SLICE = 1 << 22
"""Numbers at once: many times bitsandbytes' block."""
_BLOCK = 256


def in_slices(kind: type[Any]) -> type[Any]:
    """An optimizer of bitsandbytes that steps large 8-bit weights on a CPU slice by slice."""

    class Sliced(kind):
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

    Sliced.__name__ = kind.__name__
    return Sliced


def _slice(name: str, value: Any, start: int) -> Any:
    """A slice of what a weight's state holds: a code a number, a scale a block, and what is of the whole weight."""
    if name in ("state1", "state2"):
        return value.view(-1)[start : start + SLICE]
    if name in ("absmax1", "absmax2"):
        return value[start // _BLOCK : (start + SLICE) // _BLOCK]
    return value
