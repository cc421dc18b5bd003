"""Encode once: photos become latent means and deviations, prompts become embeddings, both kept in the session's cache.

Latents are sampled afresh each step: x0 = (mean + std * draw) * scaling_factor, as the VAE's posterior asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL.Image import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from fsd.data.dataset import TrainingPhoto
from fsd.data.decode import open_photo, square
from fsd.runtime import files, report


@dataclass(frozen=True)
class Latents:
    """The posterior of every photo: mean and std (N, C, H/8, W/8) float32, already times the VAE's scaling factor."""

    mean: Tensor
    std: Tensor

    def sample(self, index: int, random: torch.Generator) -> Tensor:
        """One draw (C, H/8, W/8) of a photo's latents."""
        return self.mean[index] + self.std[index] * torch.randn(self.mean[index].shape, generator=random)


def encode_photos(
    photos: Sequence[TrainingPhoto], vae_folder: Path, resolution_px: int, cache: Path, device: torch.device
) -> Latents:
    """The latents of the photos' squares, from the cache when photos, crops, size and VAE are the same as then."""
    key = [str(resolution_px), *_weights_key(vae_folder)]
    key += [f"{files.sha256(photo.path)} {photo.box}" for photo in photos]

    def encode() -> dict[str, Tensor]:
        vae = AutoencoderKL.from_pretrained(vae_folder).to(device).requires_grad_(False)
        rows = []
        for photo in photos:
            pixels = to_pixels(square(open_photo(photo.path), photo.box, resolution_px)).to(device)
            posterior = vae.encode(pixels[None]).latent_dist
            rows.append((posterior.mean[0].cpu(), posterior.std[0].cpu()))
        scale = vae.config.scaling_factor
        means, stds = zip(*rows, strict=True)
        return {"mean": torch.stack(means) * scale, "std": torch.stack(stds) * scale}

    return Latents(**_cached(cache, "latents", key, encode))


def encode_prompts(
    prompts: Sequence[str], text_encoder_folder: Path, tokenizer: CLIPTokenizer, cache: Path, device: torch.device
) -> Tensor:
    """The embeddings (N, 77, D) float32 of the prompts, from the cache when text encoder and prompts are the same."""

    def encode() -> dict[str, Tensor]:
        encoder = (
            CLIPTextModel.from_pretrained(text_encoder_folder, dtype=torch.float32).to(device).requires_grad_(False)
        )
        rows = [encoder(tokenize([prompt], tokenizer).to(device))[0][0].cpu() for prompt in prompts]
        return {"embeddings": torch.stack(rows)}

    return _cached(cache, "embeddings", [*_weights_key(text_encoder_folder), *prompts], encode)["embeddings"]


def tokenize(prompts: Sequence[str], tokenizer: CLIPTokenizer) -> Tensor:
    """Token ids (N, 77) int64, padded and cut to the text encoder's length."""
    return tokenizer(
        list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids


def to_pixels(image: Image) -> Tensor:
    """A picture (3, H, W) float32 in -1 to 1."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1


def _weights_key(folder: Path) -> list[str]:
    return [files.sha256(file) for file in sorted(folder.glob("*.safetensors"))]


@torch.no_grad()
def _cached(cache: Path, name: str, key: list[str], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    path = cache / f"{name}-{hashlib.sha256(chr(10).join(key).encode()).hexdigest()[:16]}.safetensors"
    if path.exists():
        try:
            return load_file(path)
        except (SafetensorError, OSError) as fault:
            report.say(f"the cache file {path.name} is damaged ({fault}) and is made again")
    made = {label: tensor.float().contiguous() for label, tensor in make().items()}
    with files.replacing(path) as temporary:
        save_file(made, temporary)
    return made
