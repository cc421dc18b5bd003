"""AdamW, fused or 8-bit, stepped either after the backward pass or, weight by weight, during it; and its schedule.

Stepping during the backward pass frees each gradient at once: a full-size SD 1.5 UNet in fp32 then needs 3.4 GB less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fsd.errors import MachineError


def learning_rate_at(step: int, steps: int, peak: float, schedule: str, warmup_steps: int) -> float:
    """The learning rate of a step (from 0): a linear warm-up to `peak`, then constant, linear or cosine decay to 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    left = 1 - (step - warmup_steps) / max(1, steps - warmup_steps)
    return {"constant": peak, "linear": peak * left, "cosine": peak * (1 - math.cos(math.pi * left)) / 2}[schedule]


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019) over named weights; betas 0.9 and 0.999, epsilon 1e-8."""

    def __init__(self, weights: dict[str, nn.Parameter], kind: str, weight_decay: float, during_backward: bool) -> None:
        self.kind = kind
        self._weights = weights
        self._inner = (
            {name: _adamw([weight], kind, weight_decay) for name, weight in weights.items()}
            if during_backward
            else {"": _adamw(weights.values(), kind, weight_decay)}
        )
        self._during_backward = during_backward
        if during_backward:
            for name, weight in weights.items():
                weight.register_post_accumulate_grad_hook(self._stepper(self._inner[name]))

    @property
    def whole(self) -> torch.optim.Optimizer | None:
        """The one torch optimizer, for Accelerate to prepare; None when weights are stepped during the backward pass."""
        return None if self._during_backward else self._inner[""]

    def replace_whole(self, prepared: torch.optim.Optimizer) -> None:
        """Use what Accelerate made of `whole`."""
        self._inner[""] = prepared

    def set_learning_rate(self, learning_rate: float) -> None:
        """The rate of the next step."""
        for optimizer in self._inner.values():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

    def step(self) -> None:
        """Finish a step: update what the backward pass has not, and forget the gradients."""
        if not self._during_backward:
            self._inner[""].step()
            self._inner[""].zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """All of the state, as CPU tensors named WEIGHT/KEY; whole numbers as int64 named WEIGHT/KEY#int."""
        found: dict[str, Tensor] = {}
        for name, weight in self._weights.items():
            for key, value in self._states_of(name, weight).items():
                if isinstance(value, Tensor):
                    kept = value.detach().cpu().contiguous()
                    found[f"{name}/{key}"] = (
                        kept.clone() if key.startswith("qmap") else kept
                    )  # one table for all weights
                elif isinstance(value, int):
                    found[f"{name}/{key}#int"] = torch.tensor(value)
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for full, value in state.items():
            name, _, key = full.rpartition("/")
            weight = self._weights[name]
            states = self._states_of(name, weight)
            if key.endswith("#int"):
                states[key.removesuffix("#int")] = int(value)
            else:
                states[key] = value.to(weight.device, copy=True)

    def _states_of(self, name: str, weight: nn.Parameter) -> dict[str, Any]:
        return self._inner[name if self._during_backward else ""].state[weight]

    @staticmethod
    def _stepper(optimizer: torch.optim.Optimizer) -> Any:
        def step(_: Tensor) -> None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step


def choose_optimizer(kind: str, on_gpu: bool) -> str:
    """What "auto" means: 8-bit AdamW on a GPU that has bitsandbytes, fused AdamW elsewhere."""
    if kind != "auto":
        return kind
    return "adamw8bit" if on_gpu and _bitsandbytes() else "adamw"


def _adamw(weights: Iterable[nn.Parameter], kind: str, weight_decay: float) -> torch.optim.Optimizer:
    if kind == "adamw":
        return torch.optim.AdamW(weights, lr=0.0, weight_decay=weight_decay, fused=True)
    bitsandbytes = _bitsandbytes()
    if bitsandbytes is None:
        hint = "install it: fsd setup train; or choose 'adamw'"
        raise MachineError("optimizer is 'adamw8bit' but bitsandbytes is not installed", hint)
    return bitsandbytes.optim.AdamW8bit(weights, lr=0.0, weight_decay=weight_decay)


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        return None
    return bitsandbytes
