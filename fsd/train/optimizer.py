"""The optimizers, each from a well-kept library, stepped either after the backward pass or, bucket by bucket, during it.

Stepping during the backward pass frees gradients as it goes: a full-size SD 1.5 UNet in fp32 then needs 3.4 GB less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fsd.errors import MachineError
from fsd.runtime.lean import bring_back
from fsd.train.bnb import adapted
from fsd.train.gradient_buckets import Bucket, bucketed, label_of
from fsd.train.sharding import alike, whole


def learning_rate_at(step: int, steps: int, peak: float, schedule: str, warmup_steps: int) -> float:
    """The learning rate of a step (from 0): a linear warm-up to `peak`, then constant, linear or cosine decay to 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    left = 1 - (step - warmup_steps) / max(1, steps - warmup_steps)
    return {"constant": peak, "linear": peak * left, "cosine": peak * (1 - math.cos(math.pi * left)) / 2}[schedule]


@dataclass(frozen=True)
class Kind:
    """An optimizer. module, name: its class. package: what brings it. options: besides rate and weight decay.

    alone: whether weights know nothing of each other, as stepping during the backward pass needs.
    finds_rate: whether it finds the learning rate itself, which is then a factor, usually 1.
    """

    module: str
    name: str
    package: str = ""
    options: Mapping[str, Any] | None = None
    alone: bool = True
    finds_rate: bool = False

    def make(self, weights: Any, weight_decay: float) -> torch.optim.Optimizer:
        """The optimizer over weights or groups of them; MachineError when its package is missing."""
        bring_back(self.package)
        try:
            module = __import__(self.module, fromlist=[self.name])
        except ImportError:
            what = f"the optimizer needs {self.package}, which is not installed"
            raise MachineError(what, f"pip install {self.package}, or choose optimizer 'adamw'") from None
        kind = getattr(module, self.name)
        found: torch.optim.Optimizer = (adapted(kind) if self.package == "bitsandbytes" else kind)(
            weights, lr=1.0 if self.finds_rate else 0.0, weight_decay=weight_decay, **self.options or {}
        )
        return found


KINDS = {
    "adamw": Kind("torch.optim", "AdamW", options={"fused": True}),
    "adamw8bit": Kind("bitsandbytes.optim", "AdamW8bit", "bitsandbytes"),
    "lion": Kind("bitsandbytes.optim", "Lion", "bitsandbytes"),
    "lion8bit": Kind("bitsandbytes.optim", "Lion8bit", "bitsandbytes"),
    "adafactor": Kind("torch.optim", "Adafactor"),
    "prodigy": Kind(
        "prodigyopt", "Prodigy", "prodigyopt", {"safeguard_warmup": True, "use_bias_correction": True},
        alone=False, finds_rate=True,
    ),
}  # fmt: skip
"""AdamW (Loshchilov and Hutter 2019), also with 8-bit state (Dettmers et al. 2022), Lion (Chen et al. 2023), Adafactor
(Shazeer and Stern 2018) and Prodigy (Mishchenko and Defazio 2024)."""


class Optimizer:
    """An optimizer over named weights, in groups of a label: the first part of a weight's name."""

    def __init__(self, weights: dict[str, nn.Parameter], kind: str, weight_decay: float, during_backward: bool) -> None:
        self.kind = kind
        self.whole: torch.optim.Optimizer | None = None
        """The one torch optimizer, for Accelerate to prepare; None when weights are stepped during the backward pass."""
        self._weights = weights
        self._buckets: list[Bucket] = []
        self._last = True
        if during_backward and KINDS[kind].alone:
            for some in bucketed(weights):
                bucket = Bucket(some, _grouped(some, kind, weight_decay))
                self._buckets.append(bucket)
                for weight in some.values():
                    weight.register_post_accumulate_grad_hook(self._stepper(bucket))
        else:
            self.whole = _grouped(weights, kind, weight_decay)

    def replace_whole(self, prepared: torch.optim.Optimizer, weights: dict[str, nn.Parameter]) -> None:
        """Use what Accelerate made of `whole` and of its weights."""
        self.whole, self._weights = prepared, weights

    def set_learning_rates(self, rates: Mapping[str, float]) -> None:
        """The rates of the next step, by label."""
        for group in self._groups():
            group["lr"] = rates[group["label"]]

    def next_is_last(self, last: bool) -> None:
        """Whether the next backward pass is the last of its step; before it gradients only add up."""
        self._last = last

    def step(self) -> None:
        """Finish a step: update what the backward pass has not, and forget the gradients."""
        for bucket in self._buckets:
            bucket.step()
        if self.whole is not None:
            self.whole.step()
            self.whole.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """All of the state, as CPU tensors: WEIGHT/KEY, whole numbers as int64 WEIGHT/KEY#int.

        What an optimizer has found for a whole group of weights is LABEL/KEY#group, float64.
        """
        found: dict[str, Tensor] = {}
        states = self._states()
        for name, weight in self._weights.items():
            for key, value in states[weight].items():
                if isinstance(value, Tensor):
                    kept = whole(value.detach()).cpu().contiguous()
                    found[f"{name}/{key}"] = (
                        kept.clone() if key.startswith("qmap") else kept
                    )  # one table for all weights
                elif isinstance(value, int):
                    found[f"{name}/{key}#int"] = torch.tensor(value)
        for group in self._groups() if KINDS[self.kind].finds_rate else ():
            for key, number in group.items():
                if key not in ("params", "lr", "initial_lr", "betas", "label") and _is_number(number):
                    found[f"{group['label']}/{key}#group"] = torch.tensor(float(number), dtype=torch.float64)
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        groups, states = {group["label"]: group for group in self._groups()}, self._states()
        for full, value in state.items():
            name, _, key = full.rpartition("/")
            if key.endswith("#group"):
                group, key = groups[name], key.removesuffix("#group")
                group[key] = type(group.get(key, 0.0))(value.item())
                continue
            weight = self._weights[name]
            if key.endswith("#int"):
                states[weight][key.removesuffix("#int")] = int(value)
            else:
                states[weight][key] = alike(value, weight)

    def _all(self) -> list[torch.optim.Optimizer]:
        return [bucket.optimizer for bucket in self._buckets] if self.whole is None else [self.whole]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._all() for group in optimizer.param_groups]

    def _states(self) -> dict[nn.Parameter, dict[str, Any]]:
        """The state of each weight, to be changed in place."""
        return {weight: optimizer.state[weight] for optimizer in self._all()
                for group in optimizer.param_groups for weight in group["params"]}  # fmt: skip

    def _stepper(self, bucket: Bucket) -> Any:
        def ready(_: Tensor) -> None:
            if self._last:
                bucket.ready()

        return ready


def _grouped(weights: dict[str, nn.Parameter], kind: str, weight_decay: float) -> torch.optim.Optimizer:
    """An optimizer over weights, with a group for each label."""
    labels = dict.fromkeys(map(label_of, weights))
    groups = [[weight for name, weight in weights.items() if label_of(name) == label] for label in labels]
    made = KINDS[kind].make([{"params": group} for group in groups], weight_decay)
    for label, group in zip(labels, made.param_groups, strict=True):
        group["label"] = label
    return made


def choose_optimizer(kind: str, on_gpu: bool) -> str:
    """What "auto" means: 8-bit AdamW on a GPU that has bitsandbytes, fused AdamW elsewhere."""
    if kind != "auto":
        return kind
    if on_gpu:
        bring_back("bitsandbytes")
        try:
            import bitsandbytes  # noqa: F401
        except ImportError:
            return "adamw"
        return "adamw8bit"
    return "adamw"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
