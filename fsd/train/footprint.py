"""What a family's networks take in memory, from their real shapes: nothing is downloaded or computed.

Weights are counted, activations found by doing a step on tensors without content (`meter`).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from fsd.families import get_family
from fsd.families.configs import family_config
from fsd.families.family import ModelFamily
from fsd.recipe import Recipe
from fsd.train.adapter import add_adapter
from fsd.train.device import DTYPES, fast_on_cpu
from fsd.train.meter import Meter, attention_on
from fsd.train.network import LATENT_FACTOR, NETWORKS
from fsd.weights.backbone import backbone_kind, prompt_shapes

QUANTIZED_BYTES = {"none": 0.0, "int8": 1.0, "nf4": 0.516}
"""Bytes a number: of NF4 half a byte, and the scales of every 64 numbers, themselves in 8 bits (Dettmers et al. 2023)."""


@dataclass(frozen=True)
class Backbone:
    """What training asks of a backbone, whatever the optimizer. dense_bytes: of its bytes those of linear layers, which
    quantization makes smaller, the largest of which has largest_bytes. trained: numbers that learn. step_bytes: the most
    that a step's activations and passing gradients take."""

    numbers: int
    bytes: int
    dense_bytes: int
    largest_bytes: int
    trained: int
    step_bytes: int

    def held_bytes(self, quantize: str) -> int:
        """What it takes in memory: quantized, one linear layer at a time is unpacked."""
        if quantize == "none":
            return self.bytes
        packed = round(self.dense_bytes / self.bytes * self.numbers * QUANTIZED_BYTES[quantize])
        return self.bytes - self.dense_bytes + self.largest_bytes + packed


@cache
def image_encoder(family: ModelFamily, resolution_px: int, device: str) -> dict[str, int]:
    """The bytes of the VAE and of what it makes of one picture."""
    vae = _built(family, "vae", torch.float32)
    pixels = torch.empty(1, 3, resolution_px, resolution_px, device="meta")
    with torch.no_grad(), attention_on(device), Meter() as meter:
        vae.encode(pixels)
    return {"VAE": _bytes(vae), "activations": meter.peak}


@cache
def text_encoders(family: ModelFamily, precision: str) -> dict[str, int]:
    """The bytes of each text encoder, by its title."""
    dtype = DTYPES[precision]
    return {encoder.title: _bytes(_built(family, encoder.part, dtype)) for encoder in family.text_encoders}


def backbone_of(recipe: Recipe, device: str, inputs_learn: bool = False) -> Backbone:
    """What a recipe's step asks of its backbone. inputs_learn: in the text encoders' stage."""
    return _backbone(recipe.changed(optimizer="auto", lora__quantize="none"), device, inputs_learn)


@cache
def _backbone(recipe: Recipe, device: str, inputs_learn: bool) -> Backbone:
    family, dtype = get_family(recipe.family), DTYPES[recipe.precision]
    backbone = _built(family, family.backbone, dtype)
    numbers, size_bytes = sum(weight.numel() for weight in backbone.parameters()), _bytes(backbone)
    dense = [module.weight.nbytes for module in backbone.modules() if isinstance(module, nn.Linear)]
    if recipe.method == "lora":
        add_adapter(backbone, family.backbone, recipe)
    else:
        backbone.requires_grad_(not inputs_learn or recipe.text_encoder.unet == "joint")
    trained = sum(weight.numel() for weight in backbone.parameters() if weight.requires_grad)
    step_bytes = _step(family, backbone, recipe, dtype, device, inputs_learn)
    return Backbone(numbers, size_bytes, sum(dense), max(dense), trained, step_bytes)


def _step(
    family: ModelFamily, backbone: Any, recipe: Recipe, dtype: torch.dtype, device: str, inputs_learn: bool
) -> int:
    """The most that a step's activations and passing gradients take; a weight's gradient goes as soon as it is there."""
    if recipe.gradient_checkpointing:
        backbone.enable_gradient_checkpointing()
    if device == "cpu":
        fast_on_cpu(backbone)
    backbone.train()
    for weight in backbone.parameters():
        if weight.requires_grad:
            weight.register_post_accumulate_grad_hook(lambda weight: setattr(weight, "grad", None))
    rows = recipe.batch_size * (2 if recipe.prior.images else 1)
    side = recipe.resolution_px // LATENT_FACTOR
    kind = backbone_kind(family_config(family.name, "model_index"), family_config(family.name, family.backbone))
    given = {name: torch.empty(rows, *shape, device="meta", dtype=dtype).requires_grad_(inputs_learn)
             for name, shape in prompt_shapes(kind, backbone.config, family.text_encoders).items()}  # fmt: skip
    with attention_on(device), Meter() as meter:
        noisy = torch.empty(rows, family.latent_channels, side, side, device="meta", dtype=dtype)
        timesteps = torch.empty(rows, device="meta")
        NETWORKS[kind].predict(backbone, noisy, timesteps, given).float().square().mean().backward()
    return meter.peak


def _built(family: ModelFamily, part: str, dtype: torch.dtype) -> Any:
    """A part of the family, of its real shapes and without content."""
    library, name = family_config(family.name, "model_index")[part]
    kind, config = getattr(importlib.import_module(library), name), family_config(family.name, part)
    with torch.device("meta"):
        if library == "transformers":
            return kind(kind.config_class(**config)).to(dtype)
        return kind.from_config(config).to(dtype)


def _bytes(module: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())
