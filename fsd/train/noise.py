"""The one seam for what the network predicts: how far along the noise is, how it is added, and what the target is.

Legend: x0 clean latents, eps noise, both (B, C, H, W) float32; t (B,) how far, as the network is told it, 0 to 1000.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor


class NoiseSchedule(Protocol):
    """A family's way from latents to noise."""

    def draw(self, random: torch.Generator) -> Tensor:
        """How far along one row is, a scalar t."""

    def at(self, share: float) -> Tensor:
        """The t, as `draw` gives it, that is so far along, 0 to below 1."""

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The noisy latents, of x0's shape."""

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network should say about them, of x0's shape."""

    def snr(self, t: Tensor) -> Tensor:
        """The signal's power over the noise's, (B,)."""

    def weight(self, t: Tensor, gamma: float) -> Tensor:
        """What each row's loss is multiplied with by min-SNR weighting (Hang et al. 2023), (B,)."""


@dataclass(frozen=True)
class Diffusion:
    """x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps, a_t the cumulative product of 1 - beta (Ho et al. 2020, equation 4).

    alphas_cumprod: (T,) float32, falling. prediction: "epsilon" or "v_prediction".
    """

    alphas_cumprod: Tensor
    prediction: str

    def draw(self, random: torch.Generator) -> Tensor:
        """Any of the T steps alike, int64."""
        return torch.randint(len(self.alphas_cumprod), (), generator=random)

    def at(self, share: float) -> Tensor:
        return torch.tensor(int(share * len(self.alphas_cumprod)))

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        signal, noise = self._scales(t)
        return signal * x0 + noise * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """eps, or v = sqrt(a) eps - sqrt(1-a) x0 (Salimans and Ho 2022)."""
        if self.prediction == "epsilon":
            return eps
        signal, noise = self._scales(t)
        return signal * eps - noise * x0

    def snr(self, t: Tensor) -> Tensor:
        alpha = self.alphas_cumprod.to(t.device)[t]
        return alpha / (1 - alpha)

    def weight(self, t: Tensor, gamma: float) -> Tensor:
        snr = self.snr(t)
        return snr.clamp(max=gamma) / (snr if self.prediction == "epsilon" else snr + 1)

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas_cumprod.to(t.device)[t].view(-1, 1, 1, 1)
        return alpha.sqrt(), (1 - alpha).sqrt()


@dataclass(frozen=True)
class Flow:
    """x_t = (1 - s) x0 + s eps with s = t / 1000; the network predicts eps - x0 (Esser et al. 2024, section 2).

    shift: above 1, more of the steps are near noise, as large pictures need (section 5.3.2 there).
    """

    shift: float

    def draw(self, random: torch.Generator) -> Tensor:
        """The logit of s is normal (section 3.1 there), then shifted; float32."""
        return self._shifted(torch.sigmoid(torch.randn((), generator=random)))

    def at(self, share: float) -> Tensor:
        return self._shifted(torch.tensor(share))

    def _shifted(self, s: Tensor) -> Tensor:
        return 1000 * self.shift * s / (1 + (self.shift - 1) * s)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        s = (t / 1000).view(-1, 1, 1, 1)
        return (1 - s) * x0 + s * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps - x0

    def snr(self, t: Tensor) -> Tensor:
        s = t / 1000
        return ((1 - s) / s).square()

    def weight(self, t: Tensor, gamma: float) -> Tensor:
        """Ones: a flow's loss is even already."""
        return torch.ones_like(t)


def load_schedule(scheduler: Path, tokens: int = 0, shift: float = 0.0, zero_snr: bool = False) -> NoiseSchedule:
    """The schedule that a model's scheduler folder describes.

    tokens: patches of two by two latents in a picture, on which the shift of some flows depends. shift: another one.
    zero_snr: let the last step be noise alone (Lin et al. 2023).
    """
    config = json.loads((scheduler / "scheduler_config.json").read_text(encoding="utf-8"))
    if config["_class_name"].startswith("FlowMatch"):
        return Flow(shift or _shift_of(config, tokens))
    from diffusers import DDPMScheduler

    ours = DDPMScheduler.from_config(config, **({"rescale_betas_zero_snr": True} if zero_snr else {}))
    return Diffusion(ours.alphas_cumprod.float(), ours.config.prediction_type)


def _shift_of(config: dict[str, Any], tokens: int) -> float:
    """The model's own shift; where it grows with the picture, along the line that its configuration draws."""
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift", 1.0))
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return math.exp(base + (most - base) * (tokens - low) / (high - low))


def draw_noise(shape: tuple[int, ...], offset: float, random: torch.Generator, multires: float = 0.0) -> Tensor:
    """Gaussian noise (C, H, W).

    offset: adds a random mean a channel (Guttenberg 2023, offset noise). multires: adds coarser noise of ever larger
    scale, each that many times as strong as the one before (Whitaker 2023, multi-resolution noise); deviation 1 again.
    """
    eps = torch.randn(shape, generator=random)
    if multires:
        eps = _with_coarser(eps, multires, random)
    if offset:
        eps += offset * torch.randn((shape[0], 1, 1), generator=random)
    return eps


def _with_coarser(eps: Tensor, strength: float, random: torch.Generator) -> Tensor:
    channels, height, width = eps.shape
    side, level = min(height, width) // 2, 1
    while side >= 1:
        coarse = torch.randn((1, channels, max(1, height >> level), max(1, width >> level)), generator=random)
        wide = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
        eps = eps + strength**level * wide
        side, level = side // 2, level + 1
    return eps / eps.std()
