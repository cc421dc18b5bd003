"""Encode once: pictures become latent means and deviations, kept in the session's cache.

Latents are sampled afresh each step: x0 = (mean + std * draw - shift) * scale, as the VAE's posterior asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL.Image import Image, Resampling
from torch import Tensor

from fsd.train.cache import cached, weights_key
from fsd.train.view import View


@dataclass(frozen=True)
class Latents:
    """The posterior of every view: means and deviations (C, H, W) float32, scaled and shifted as the backbone reads them.

    mask: how much each place counts in the loss (1, H, W) float32; empty when all count alike.
    """

    mean: Sequence[Tensor]
    std: Sequence[Tensor]
    mask: Sequence[Tensor] = ()

    def sample(self, view: int, random: torch.Generator) -> Tensor:
        """One draw (C, H, W) of a view's latents."""
        return self.mean[view] + self.std[view] * torch.randn(self.mean[view].shape, generator=random)

    def size(self, view: int) -> torch.Size:
        """The shape of a view's latents."""
        return self.mean[view].shape

    def masks(self, views: Sequence[int], device: torch.device) -> Tensor | None:
        """The masks (B, 1, H, W) of some views of one size."""
        return torch.stack([self.mask[view] for view in views]).to(device) if self.mask else None


def encode_views(views: Sequence[View], vae_folder: Path, cache: Path, device: torch.device) -> Latents:
    """The latents of the views, from the cache when pictures, crops, sizes and VAE are the same as then."""

    def encode() -> dict[str, Tensor]:
        vae = AutoencoderKL.from_pretrained(vae_folder).to(device).requires_grad_(False)
        scale, shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
        found: dict[str, Tensor] = {}
        for number, view in enumerate(views):
            posterior = vae.encode(to_pixels(view.picture())[None].to(device)).latent_dist
            found[f"mean.{number}"] = (posterior.mean[0].cpu() - shift) * scale
            found[f"std.{number}"] = posterior.std[0].cpu() * scale
            if masked:
                found[f"mask.{number}"] = _weights(view, found[f"mean.{number}"].shape[1:])
        return found

    masked = any(view.outside < 1 for view in views)

    found = cached(cache, "latents", [*weights_key(vae_folder), *(view.key() for view in views)], encode)
    kinds = ("mean", "std", *(["mask"] if masked else []))
    return Latents(*([found[f"{kind}.{number}"] for number in range(len(views))] for kind in kinds))


def _weights(view: View, shape: Sequence[int]) -> Tensor:
    """How much each place of a view's latents counts (1, H, W), on the whole as much as without a mask."""
    if view.outside == 1:
        return torch.ones(1, *shape)
    mask = view.mask().resize((shape[1], shape[0]), Resampling.BOX)
    weights = view.outside + (1 - view.outside) * torch.from_numpy(np.array(mask, dtype=np.float32) / 255)
    return (weights / weights.mean().clamp(min=1e-6))[None]


def to_pixels(image: Image) -> Tensor:
    """A picture (3, H, W) float32 in -1 to 1."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1
