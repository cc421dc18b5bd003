"""The one seam for what the network predicts: how noise is added and what the target is.

Legend: x0 clean latents, eps noise, t timestep (int64, 0 to 999), all latents (B, C, H/8, W/8) float32.
x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps, with a_t the cumulative product of 1 - beta (Ho et al. 2020, equation 4).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """A discrete noise schedule. alphas_cumprod: (T,) float32, falling. prediction: "epsilon" or "v_prediction"."""

    alphas_cumprod: Tensor
    prediction: str

    @property
    def timesteps(self) -> int:
        return len(self.alphas_cumprod)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The noisy latents x_t, of x0's shape."""
        signal, noise = self._scales(t)
        return signal * x0 + noise * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network should say about x_t: eps, or v = sqrt(a) eps - sqrt(1-a) x0 (Salimans and Ho 2022)."""
        if self.prediction == "epsilon":
            return eps
        signal, noise = self._scales(t)
        return signal * eps - noise * x0

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas_cumprod.to(t.device)[t].view(-1, 1, 1, 1)
        return alpha.sqrt(), (1 - alpha).sqrt()


def load_schedule(scheduler: Path) -> NoiseSchedule:
    """The schedule that a model's scheduler folder describes."""
    from diffusers import DDPMScheduler

    ours = DDPMScheduler.from_config(json.loads((scheduler / "scheduler_config.json").read_text(encoding="utf-8")))
    return NoiseSchedule(ours.alphas_cumprod.float(), ours.config.prediction_type)


def draw_noise(shape: tuple[int, ...], offset: float, random: torch.Generator) -> Tensor:
    """Gaussian noise (C, H, W); offset adds a random mean a channel (Guttenberg 2023, offset noise)."""
    eps = torch.randn(shape, generator=random)
    if offset:
        eps += offset * torch.randn((shape[0], 1, 1), generator=random)
    return eps
