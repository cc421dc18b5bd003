"""What the training scripts share: the Muon optimizer, the time budget and resumable checkpoints."""

import json
import math
import os
import time
from collections import defaultdict
from pathlib import Path

import torch
import workers
from safetensors.torch import load_file, save_file
from torch import nn


def newton_schulz(stack: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest orthogonal matrices of float32 (B, m, n), approximately (Muon, Keller Jordan 2024)."""
    tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if tall else stack
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    """Muon for the hidden matrices, batched by shape, and AdamW for the rest.

    `hidden` are weights of two or more dimensions, `groups` is a list of (parameters, rate relative to Muon's). State is a flat dict of tensors.
    """

    def __init__(
        self,
        hidden: list[nn.Parameter],
        groups: list[tuple[list[nn.Parameter], float]],
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
    ):
        self.momentum = momentum
        self.shapes = defaultdict(list)
        for p in hidden:
            self.shapes[(p.shape[0], p[0].numel())].append(p)
        self.buffers = {k: torch.zeros(len(ps), *k) for k, ps in self.shapes.items()}
        self.rates = [r for _, r in groups]
        self.adam = torch.optim.AdamW(
            [{"params": ps, "lr": 1.0} for ps, _ in groups], betas=betas, weight_decay=0.0, foreach=True
        )
        self.params = hidden + [p for ps, _ in groups for p in ps]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update at Muon's rate, its matrices shared out among the workers; gradients are cleared."""
        mixed, mine = {}, []
        for key, ps in self.shapes.items():
            grad = torch.stack([p.grad.reshape(key) for p in ps])
            mixed[key] = grad.lerp(self.buffers[key].lerp_(grad, 1 - self.momentum), self.momentum)
        for place, (key, stack) in enumerate(mixed.items()):
            own = (torch.arange(len(stack)) + place) % workers.count() == workers.rank()
            update = torch.zeros_like(stack)
            if own.any():
                update[own] = newton_schulz(stack[own]) * (0.2 * math.sqrt(max(key)))
            mine.append(update)
        for (_, ps), update in zip(self.shapes.items(), workers.summed(mine), strict=False):
            torch._foreach_mul_(ps, 1 - rate * 0.01)
            torch._foreach_add_(ps, [u.reshape(p.shape) for u, p in zip(update, ps, strict=False)], alpha=-rate)
        for group, relative in zip(self.adam.param_groups, self.rates, strict=False):
            group["lr"] = rate * relative
        self.adam.step()  # parameters without a gradient are left alone
        for p in self.params:
            p.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """All optimizer state as named tensors."""
        out = {f"muon.{m}x{n}": b for (m, n), b in self.buffers.items()}
        for i, p in enumerate(p for g in self.adam.param_groups for p in g["params"]):
            out |= {f"adam.{i}.{k}": v.contiguous() for k, v in self.adam.state.get(p, {}).items()}
        return out

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Takes back what `state` gave."""
        for key in self.buffers:
            self.buffers[key].copy_(state[f"muon.{key[0]}x{key[1]}"])
        for i, p in enumerate(p for g in self.adam.param_groups for p in g["params"]):
            self.adam.state[p] = {
                k: state[f"adam.{i}.{k}"] for k in ("step", "exp_avg", "exp_avg_sq") if f"adam.{i}.{k}" in state
            }


def split(module: nn.Module, plain: tuple[str, ...] = ("conv_in", "conv_out")) -> tuple[list, list]:
    """(hidden matrices for Muon, everything else for AdamW) of a network."""
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    hidden = [p for n, p in named if p.dim() >= 2 and not n.startswith(plain) and "embedding" not in n]
    ids = {id(p) for p in hidden}
    return hidden, [p for _, p in named if id(p) not in ids]


class Budget:
    """A budget of time: `fraction` (0..1) drives the schedules, so a training ends well on a machine of any load."""

    def __init__(self, minutes: float, spent_s: float = 0.0):
        self.total_s, self.spent_s, self.start = minutes * 60, spent_s, time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return self.spent_s + time.monotonic() - self.start

    @property
    def fraction(self) -> float:
        return min(1.0, self.elapsed_s / self.total_s)


def cosine(fraction: float, hold: float, floor: float) -> float:
    """1 until `hold`, then a cosine down to `floor` at 1."""
    return (
        1.0 if fraction < hold else floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (fraction - hold) / (1 - hold)))
    )


def save_state(folder: Path, tensors: dict[str, torch.Tensor], facts: dict) -> None:
    """Writes state.safetensors with `facts` (JSON) in its header, in one rename."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "state.part"
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, part, {"facts": json.dumps(facts)})
    os.replace(part, folder / "state.safetensors")


def load_state(folder: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """What `save_state` wrote, or None."""
    path = folder / "state.safetensors"
    if not path.exists():
        return None
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        return load_file(path), json.loads(f.metadata()["facts"])


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under `prefix.` names."""
    return {f"{prefix}.{k}": v for k, v in tensors.items()}


def part(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under `prefix.`, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
