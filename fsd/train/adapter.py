"""A LoRA on a part of a model: put there, written as Diffusers does, and taken back."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, set_peft_model_state_dict
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from fsd.recipe import Recipe
from fsd.weights.lora_stage import LORA_FILE, targets_of


def add_adapter(module: Any, part: str, recipe: Recipe, seed: int = 0) -> None:
    """Freeze a part and put a LoRA on it that changes nothing yet; its first matrices depend on the seed alone."""
    settings = recipe.lora
    module.requires_grad_(False)
    torch.manual_seed(seed)
    module.add_adapter(
        LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha or settings.rank, lora_dropout=settings.dropout,
            use_rslora=settings.rank_stabilized, target_modules=list(targets_of(part, recipe)), init_lora_weights=True,
        )
    )  # fmt: skip
    for weight in module.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def write_adapters(modules: dict[str, Any], weights: dict[str, Tensor], model: Path, folder: Path) -> None:
    """Write the LoRA as Diffusers does, exactly as it is trained, with peft's settings in the header.

    weights: those of the LoRA, by part and name.
    """
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    content: dict[str, Any] = {}
    for part, module in modules.items():
        mine = {
            name.removeprefix(f"{part}."): weight for name, weight in weights.items() if name.startswith(f"{part}.")
        }
        content[f"{part}_lora_layers"] = get_peft_model_state_dict(module, mine, adapter_name="default")
        settings = module.peft_config["default"].to_dict()
        settings["target_modules"] = sorted(settings["target_modules"])  # of a set, whose order changes
        content[f"{part}_lora_adapter_metadata"] = settings
    place = folder / LORA_FILE
    getattr(importlib.import_module("diffusers"), index["_class_name"]).save_lora_weights(
        place.parent, weight_name=place.name, **content
    )


def load_adapters(modules: dict[str, Any], file: Path) -> None:
    """Take back what `write_adapters` wrote."""
    saved = load_file(file)
    for part, module in modules.items():
        mine = {key.removeprefix(f"{part}."): value for key, value in saved.items() if key.startswith(f"{part}.")}
        set_peft_model_state_dict(module, mine, adapter_name="default")
