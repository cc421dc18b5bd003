"""The memory that training a family needs, phase by phase, from its real shapes: nothing is downloaded or computed.

`python -m fsd.train.plan JSON` for `fsd plan`. What networks take is from `footprint`; what a GPU's own libraries take is
added as measured figures.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from fsd.families import get_family
from fsd.families.family import ModelFamily
from fsd.recipe import Recipe
from fsd.runtime.child import stage_main
from fsd.train.footprint import backbone_of, image_encoder, text_encoders
from fsd.weights.sizes import OPTIMIZER_BYTES

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
    found = [Phase("encode images", libraries | image_encoder(family, recipe.resolution_px, device))]
    if recipe.method == "full" and recipe.text_encoder.steps:
        found.append(Phase("train the text encoder", libraries | _text_stage(family, recipe, device)))
    if not (recipe.method == "lora" and recipe.lora.text_encoders):
        found.append(Phase("encode captions", libraries | text_encoders(family, recipe.precision)))
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


def _text_stage(family: ModelFamily, recipe: Recipe, device: str) -> dict[str, int]:
    """The UNet frozen in the compute precision, or trained too, its activations as a step has them, and the text encoders
    trained."""
    words = sum(text_encoders(family, "fp32").values()) // 4
    unet = backbone_of(recipe, device, inputs_learn=True)
    numbers = words + unet.trained
    return {
        "UNet": 4 * unet.trained or unet.bytes,
        "a copy in the compute precision": unet.bytes if unet.trained and recipe.precision != "fp32" else 0,
        "text encoders": 4 * words,
        "optimizer": numbers * OPTIMIZER_BYTES[recipe.optimizer],
        "gradients and activations": unet.step_bytes + (0 if _fused(recipe) else 4 * numbers),
    }


def _backbone_stage(family: ModelFamily, recipe: Recipe, device: str) -> dict[str, int]:
    backbone = backbone_of(recipe, device)
    if recipe.method == "lora":
        found = {"backbone": backbone.held_bytes(recipe.lora.quantize), "LoRA": 4 * backbone.trained}
        found |= text_encoders(family, recipe.precision) if recipe.lora.text_encoders else {}
    else:
        copy = backbone.bytes if recipe.precision != "fp32" else 0
        found = {"backbone": 4 * backbone.numbers, "a copy in the compute precision": copy}
    found["optimizer"] = backbone.trained * (OPTIMIZER_BYTES[recipe.optimizer] + (4 if recipe.ema_decay else 0))
    kept = 0 if _fused(recipe) else 4 * backbone.trained
    found["gradients and activations"] = backbone.step_bytes + kept
    return found


def _fused(recipe: Recipe) -> bool:
    """Whether gradients go as soon as they are used: no clipping, no loss scaling (fp16), nothing accumulated."""
    return not recipe.max_grad_norm and recipe.precision != "fp16" and recipe.gradient_accumulation == 1


if __name__ == "__main__":
    stage_main(main)
