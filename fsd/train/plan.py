"""The memory that training a family needs, phase by phase, from its real shapes: nothing is downloaded or computed.

`python -m fsd.train.plan JSON` for `fsd plan`. Weights are counted, activations found by doing a step on tensors
without content (`meter`); what a GPU's own libraries take is added as measured figures.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass
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
    found = [Phase("encode images", libraries | _images(family, recipe, device))]
    if recipe.method == "full" and recipe.text_encoder.steps:
        found.append(Phase("train the text encoder", libraries | _text_stage(family, recipe, device)))
    if not (recipe.method == "lora" and recipe.lora.text_encoders):
        found.append(Phase("encode captions", libraries | _captions(family, recipe)))
    title = {"full": "train the UNet", "lora": "train the LoRA"}[recipe.method]
    found.append(Phase(title, libraries | _backbone_stage(family, recipe, device)))
    return found


def main(arguments: list[str]) -> dict[str, Any]:
    """The phases of each of the recipes in a JSON list."""
    asked = json.loads(arguments[0])
    recipes = [Recipe.from_json(record) for record in asked["recipes"]]
    return {"plans": [[_told(phase) for phase in phases(recipe, asked["device"])] for recipe in recipes]}


def _told(phase: Phase) -> dict[str, Any]:
    return asdict(phase) | {"total_bytes": phase.total_bytes}


def _images(family: ModelFamily, recipe: Recipe, device: str) -> dict[str, int]:
    vae = _built(family, "vae", torch.float32)
    pixels = torch.empty(1, 3, recipe.resolution_px, recipe.resolution_px, device="meta")
    with torch.no_grad(), attention_on(device), Meter() as meter:
        vae.encode(pixels)
    return {"VAE": _bytes(vae), "activations": meter.peak}


def _captions(family: ModelFamily, recipe: Recipe) -> dict[str, int]:
    dtype = _DTYPES[recipe.precision]
    return {encoder.title: _bytes(_built(family, encoder.part, dtype)) for encoder in family.text_encoders}


def _text_stage(family: ModelFamily, recipe: Recipe, device: str) -> dict[str, int]:
    """The UNet frozen in the compute precision, or trained too, its activations as a step has them, and the text encoders
    trained."""
    dtype, joint = _DTYPES[recipe.precision], recipe.text_encoder.unet == "joint"
    encoders = [_built(family, encoder.part, torch.float32) for encoder in family.text_encoders]
    backbone = _built(family, family.backbone, dtype).requires_grad_(joint)
    words = sum(weight.numel() for encoder in encoders for weight in encoder.parameters())
    unet = sum(weight.numel() for weight in backbone.parameters())
    numbers = words + unet * joint
    peak = _step(family, backbone, recipe, dtype, device, inputs_learn=True)
    return {
        "UNet": _bytes(backbone) if not joint else 4 * unet,
        "a copy in the compute precision": _bytes(backbone) if joint and recipe.precision != "fp32" else 0,
        "text encoders": 4 * words,
        "optimizer": numbers * OPTIMIZER_BYTES[recipe.optimizer],
        "gradients and activations": peak + (0 if _fused(recipe) else 4 * numbers),
    }


def _backbone_stage(family: ModelFamily, recipe: Recipe, device: str) -> dict[str, int]:
    dtype = _DTYPES[recipe.precision]
    backbone = _built(family, family.backbone, dtype)
    found: dict[str, int] = {}
    if recipe.method == "lora":
        found["backbone"] = _held(backbone, recipe.lora.quantize)
        add_adapter(backbone, family.backbone, recipe)
    else:
        found["backbone"] = 4 * sum(weight.numel() for weight in backbone.parameters())
        if recipe.precision != "fp32":
            found["a copy in the compute precision"] = _bytes(backbone)
    trained = [weight for weight in backbone.parameters() if weight.requires_grad]
    numbers = sum(weight.numel() for weight in trained)
    if recipe.method == "lora":
        found["LoRA"] = 4 * numbers
        if recipe.lora.text_encoders:
            found |= _captions(family, recipe)
    found["optimizer"] = numbers * (OPTIMIZER_BYTES[recipe.optimizer] + (4 if recipe.ema_decay else 0))
    found["gradients and activations"] = _step(family, backbone, recipe, dtype, device) + (
        0 if _fused(recipe) else numbers * 4
    )
    return found


def _step(
    family: ModelFamily, backbone: Any, recipe: Recipe, dtype: torch.dtype, device: str, inputs_learn: bool = False
) -> int:
    """The most that a step's activations and passing gradients take; a weight's gradient goes as soon as it is there."""
    if recipe.gradient_checkpointing:
        backbone.enable_gradient_checkpointing()
    if device == "cpu":
        fast_on_cpu(backbone)
    backbone.train()
    hooks = [
        weight.register_post_accumulate_grad_hook(lambda weight: setattr(weight, "grad", None))
        for weight in backbone.parameters()
        if weight.requires_grad
    ]
    rows = recipe.batch_size * (2 if recipe.prior.images else 1)
    side = recipe.resolution_px // LATENT_FACTOR
    kind = backbone_kind(family_config(family.name, "model_index"), family_config(family.name, family.backbone))
    given = {name: torch.empty(rows, *shape, device="meta", dtype=dtype).requires_grad_(inputs_learn)
             for name, shape in prompt_shapes(kind, backbone.config, family.text_encoders).items()}  # fmt: skip
    with attention_on(device), Meter() as meter:
        noisy = torch.empty(rows, family.latent_channels, side, side, device="meta", dtype=dtype)
        timesteps = torch.empty(rows, device="meta")
        NETWORKS[kind].predict(backbone, noisy, timesteps, given).float().square().mean().backward()
    for hook in hooks:
        hook.remove()
    return meter.peak


def _fused(recipe: Recipe) -> bool:
    """Whether gradients go as soon as they are used: no clipping, no loss scaling (fp16), nothing accumulated."""
    return not recipe.max_grad_norm and recipe.precision != "fp16" and recipe.gradient_accumulation == 1


def _held(backbone: nn.Module, quantize: str) -> int:
    """The bytes of a frozen backbone: quantized, its linear layers are, and one at a time is unpacked."""
    if quantize == "none":
        return _bytes(backbone)
    linear = [module.weight for module in backbone.modules() if isinstance(module, nn.Linear)]
    packed = sum(weight.numel() for weight in linear)
    largest = max(weight.numel() * weight.element_size() for weight in linear)
    rest = _bytes(backbone) - sum(weight.numel() * weight.element_size() for weight in linear)
    return rest + largest + round(packed * _QUANTIZED_BYTES[quantize])


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
