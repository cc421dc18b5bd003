"""The memory that training a family needs, phase by phase, from its real shapes: nothing is downloaded or computed.

`python -m fsd.train.plan JSON` for `fsd plan`. Weights are counted, activations found by doing a step on tensors
without content (`meter`); what a GPU's own libraries take is added as measured figures.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from fsd.families import get_family
from fsd.families.configs import family_config
from fsd.families.family import ModelFamily
from fsd.recipe import Recipe
from fsd.runtime.child import stage_main
from fsd.train.adapter import add_adapter
from fsd.train.device import fast_on_cpu
from fsd.train.meter import Meter, attention_on
from fsd.train.network import LATENT_FACTOR, NETWORKS
from fsd.weights.backbone import backbone_kind, prompt_shapes
from fsd.weights.sizes import OPTIMIZER_BYTES

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_QUANTIZED_BYTES = {"none": 0.0, "int8": 1.0, "nf4": 0.516}
"""Bytes a number: of NF4 half a byte, and the scales of every 64 numbers, themselves in 8 bits (Dettmers et al. 2023)."""
_LIBRARIES_BYTES = {"cuda": 600 << 20, "cpu": 600 << 20}
"""CUDA's context and work spaces; on a CPU the Python process with its libraries."""


@dataclass(frozen=True)
class _Backbone:
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
        packed = round(self.dense_bytes / self.bytes * self.numbers * _QUANTIZED_BYTES[quantize])
        return self.bytes - self.dense_bytes + self.largest_bytes + packed


@dataclass(frozen=True)
class Phase:
    """One phase of training. bytes: what it holds at once, by what it is."""

    name: str
    bytes: dict[str, int]

    @property
    def total_bytes(self) -> int:
        return sum(self.bytes.values())


def phases(recipe: Recipe, device: str = "cuda") -> list[Phase]:
    """The phases of training that family by that method, in order; each leaves memory before the next.

    recipe: with "auto" settled. device: "cuda" or "cpu".
    """
    family = get_family(recipe.family)
    libraries = {"libraries": _LIBRARIES_BYTES[device]}
    found = [Phase("encode images", libraries | _images(family, recipe.resolution_px, device))]
    if recipe.method == "full" and recipe.text_encoder.steps:
        found.append(Phase("train the text encoder", libraries | _text_stage(family, recipe, device)))
    if not (recipe.method == "lora" and recipe.lora.text_encoders):
        found.append(Phase("encode captions", libraries | _captions(family, recipe.precision)))
    title = {"full": "train the UNet", "lora": "train the LoRA"}[recipe.method]
    found.append(Phase(title, libraries | _backbone_stage(family, recipe, device)))
    return found


def main(arguments: list[str]) -> dict[str, Any]:
    """The phases of each of the recipes in a JSON list, up to the first that stays within room_bytes."""
    asked = json.loads(arguments[0])
    plans: list[list[dict[str, Any]]] = []
    for record in asked["recipes"]:
        plans.append([_told(phase) for phase in phases(Recipe.from_json(record), asked["device"])])
        if max(phase["total_bytes"] for phase in plans[-1]) <= asked["room_bytes"]:
            break
    return {"plans": plans}


def _told(phase: Phase) -> dict[str, Any]:
    return asdict(phase) | {"total_bytes": phase.total_bytes}


@cache
def _images(family: ModelFamily, resolution_px: int, device: str) -> dict[str, int]:
    vae = _built(family, "vae", torch.float32)
    pixels = torch.empty(1, 3, resolution_px, resolution_px, device="meta")
    with torch.no_grad(), attention_on(device), Meter() as meter:
        vae.encode(pixels)
    return {"VAE": _bytes(vae), "activations": meter.peak}


@cache
def _captions(family: ModelFamily, precision: str) -> dict[str, int]:
    dtype = _DTYPES[precision]
    return {encoder.title: _bytes(_built(family, encoder.part, dtype)) for encoder in family.text_encoders}


def _text_stage(family: ModelFamily, recipe: Recipe, device: str) -> dict[str, int]:
    """The UNet frozen in the compute precision, or trained too, its activations as a step has them, and the text encoders
    trained."""
    words = sum(_captions(family, "fp32").values()) // 4
    unet = _backbone(_plain(recipe), device, inputs_learn=True)
    numbers = words + unet.trained
    return {
        "UNet": 4 * unet.trained or unet.bytes,
        "a copy in the compute precision": unet.bytes if unet.trained and recipe.precision != "fp32" else 0,
        "text encoders": 4 * words,
        "optimizer": numbers * OPTIMIZER_BYTES[recipe.optimizer],
        "gradients and activations": unet.step_bytes + (0 if _fused(recipe) else 4 * numbers),
    }


def _backbone_stage(family: ModelFamily, recipe: Recipe, device: str) -> dict[str, int]:
    backbone = _backbone(_plain(recipe), device)
    if recipe.method == "lora":
        found = {"backbone": backbone.held_bytes(recipe.lora.quantize), "LoRA": 4 * backbone.trained}
        found |= _captions(family, recipe.precision) if recipe.lora.text_encoders else {}
    else:
        copy = backbone.bytes if recipe.precision != "fp32" else 0
        found = {"backbone": 4 * backbone.numbers, "a copy in the compute precision": copy}
    found["optimizer"] = backbone.trained * (OPTIMIZER_BYTES[recipe.optimizer] + (4 if recipe.ema_decay else 0))
    kept = 0 if _fused(recipe) else 4 * backbone.trained
    found["gradients and activations"] = backbone.step_bytes + kept
    return found


def _plain(recipe: Recipe) -> Recipe:
    """The recipe without what changes nothing in a step's shapes."""
    return recipe.changed(optimizer="auto", lora__quantize="none")


@cache
def _backbone(recipe: Recipe, device: str, inputs_learn: bool = False) -> _Backbone:
    """The recipe's backbone after a step on tensors without content. inputs_learn: in the text encoders' stage."""
    family, dtype = get_family(recipe.family), _DTYPES[recipe.precision]
    backbone = _built(family, family.backbone, dtype)
    numbers, size_bytes = sum(weight.numel() for weight in backbone.parameters()), _bytes(backbone)
    dense = [module.weight.nbytes for module in backbone.modules() if isinstance(module, nn.Linear)]
    if recipe.method == "lora":
        add_adapter(backbone, family.backbone, recipe)
    else:
        backbone.requires_grad_(not inputs_learn or recipe.text_encoder.unet == "joint")
    trained = sum(weight.numel() for weight in backbone.parameters() if weight.requires_grad)
    step_bytes = _step(family, backbone, recipe, dtype, device, inputs_learn)
    return _Backbone(numbers, size_bytes, sum(dense), max(dense), trained, step_bytes)


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


def _fused(recipe: Recipe) -> bool:
    """Whether gradients go as soon as they are used: no clipping, no loss scaling (fp16), nothing accumulated."""
    return not recipe.max_grad_norm and recipe.precision != "fp16" and recipe.gradient_accumulation == 1


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


if __name__ == "__main__":
    stage_main(main)
