"""How each kind of backbone is fed: what prompts become, and how it is asked about noisy latents.

Which kind it is stands in the model's own model_index.json. Prompts go through Diffusers' pipeline of the model, of which
only the text encoders are loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.logging import disable_progress_bar
from torch import Tensor

from fsd.weights.backbone import kind_of_model, model_index

LATENT_FACTOR = 8
"""Pixels a latent, of the VAEs of all families."""

Conditioning = dict[str, Tensor]
"""What a backbone reads of prompts, by name; one row of each tensor a prompt."""


@dataclass(frozen=True)
class Network:
    """A kind of backbone. encode: (pipeline, prompts) to what it reads of them.

    predict: (backbone, noisy latents (B, C, H, W), timesteps (B,), conditioning of B rows) to its answer of that shape.
    """

    encode: Callable[[Any, list[str]], Conditioning]
    predict: Callable[[Any, Tensor, Tensor, Conditioning], Tensor]


def network_of(model: Path) -> Network:
    """The kind of a Diffusers folder's backbone."""
    return NETWORKS[kind_of_model(model)]


def text_pipeline(model: Path, encoders: dict[str, Any]) -> Any:
    """The model's Diffusers pipeline with these text encoders and the tokenizers, and nothing else in memory."""
    index = model_index(model)
    kind = getattr(importlib.import_module("diffusers"), index["_class_name"])
    left_out = {part: None for part, of in index.items() if isinstance(of, list) and not part.startswith("tokenizer")}
    options = {"requires_safety_checker": False} if "safety_checker" in index else {}
    disable_progress_bar()  # of parts that are not even loaded
    return kind.from_pretrained(model, **left_out | encoders, **options, local_files_only=True)


def rows(conditioning: Conditioning, chosen: Sequence[int]) -> Conditioning:
    """The conditioning of some prompts, in that order."""
    return {name: tensor[list(chosen)] for name, tensor in conditioning.items()}


def _encode_alone(pipeline: Any, prompts: list[str]) -> Conditioning:
    states, _ = pipeline.encode_prompt(prompts, pipeline.device, 1, False)
    return {"states": states}


def _encode_pooled(pipeline: Any, prompts: list[str]) -> Conditioning:
    """SDXL and SD 3: also the pooled embedding of all prompts' words."""
    more = {"prompt_3": None} if hasattr(pipeline, "text_encoder_3") else {}
    states, _, pooled, _ = pipeline.encode_prompt(
        prompts, prompt_2=None, **more, device=pipeline.device, num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )  # fmt: skip
    return {"states": states, "pooled": pooled}


def _encode_flux(pipeline: Any, prompts: list[str]) -> Conditioning:
    states, pooled, _ = pipeline.encode_prompt(prompts, prompt_2=None, device=pipeline.device)
    return {"states": states, "pooled": pooled}


def _predict_sd(unet: Any, noisy: Tensor, timesteps: Tensor, given: Conditioning) -> Tensor:
    return unet(noisy, timesteps, given["states"]).sample


def _predict_sdxl(unet: Any, noisy: Tensor, timesteps: Tensor, given: Conditioning) -> Tensor:
    """With the sizes that a picture is drawn with unless it is told otherwise: its own, uncropped."""
    height, width = (side * LATENT_FACTOR for side in noisy.shape[-2:])
    sizes = torch.tensor([[height, width, 0, 0, height, width]], device=noisy.device, dtype=noisy.dtype)
    more = {"text_embeds": given["pooled"], "time_ids": sizes.expand(len(noisy), -1)}
    return unet(noisy, timesteps, given["states"], added_cond_kwargs=more).sample


def _predict_sd3(transformer: Any, noisy: Tensor, timesteps: Tensor, given: Conditioning) -> Tensor:
    return transformer(
        hidden_states=noisy, timestep=timesteps, encoder_hidden_states=given["states"],
        pooled_projections=given["pooled"],
    ).sample  # fmt: skip


def _predict_flux(transformer: Any, noisy: Tensor, timesteps: Tensor, given: Conditioning) -> Tensor:
    """Latents are read as patches of two by two, each with its place; the guidance that was distilled in is 1."""
    count, channels, height, width = noisy.shape
    patches = noisy.view(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    down, across = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
    places = torch.stack([torch.zeros_like(down), down, across], dim=-1).view(-1, 3)
    guided = noisy.new_ones(count) if transformer.config.guidance_embeds else None
    answer = transformer(
        hidden_states=patches.reshape(count, -1, channels * 4), timestep=timesteps / 1000, guidance=guided,
        encoder_hidden_states=given["states"], pooled_projections=given["pooled"],
        txt_ids=noisy.new_zeros(given["states"].shape[1], 3), img_ids=places.to(noisy),
    ).sample  # fmt: skip
    apart = answer.view(count, height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return apart.reshape(noisy.shape)


NETWORKS = {
    "UNet2DConditionModel": Network(_encode_alone, _predict_sd),
    "UNet2DConditionModel:text_time": Network(_encode_pooled, _predict_sdxl),
    "SD3Transformer2DModel": Network(_encode_pooled, _predict_sd3),
    "FluxTransformer2DModel": Network(_encode_flux, _predict_flux),
}
