"""What a LoRA file changes in a pipeline's weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsd.errors import MachineError, RecipeError, WeightsError
from fsd.families.family import ModelFamily
from fsd.weights.detect import detect
from fsd.weights.lora_layers import LoraLayer, cast
from fsd.weights.lora_names import names_of
from fsd.weights.lora_read import read_layers
from fsd.weights.weight_file import read_weights

Name = tuple[str, str]
"""A part of the pipeline and a layer in it."""


@torch.no_grad()
def add_lora(pipeline: Any, family: ModelFamily, path: Path) -> None:
    """Add a LoRA's change to a pipeline of that family, for good; errors as `changes`."""
    for _, weight, change in changes(pipeline, family, path):
        weight.add_(change)


def changes(pipeline: Any, family: ModelFamily, path: Path) -> Iterator[tuple[Name, Tensor, Tensor]]:
    """(layer, its weight, what the LoRA adds to it) for each layer that a file changes.

    RecipeError for a LoRA of another kind of model, WeightsError for a file that holds none or does not fit,
    MachineError where the layers take turns on the GPU.
    """
    for name, layer in _layers(path, family).items():
        weight = weight_of(pipeline, name, path)
        if weight.is_meta:
            what = "this GPU is so small that the model's layers take turns on it, and no LoRA can be added to them"
            raise MachineError(what, "use a smaller model, or a session's checkpoint instead of a LoRA")
        yield name, weight, _change(layer, weight, path)


def _layers(path: Path, family: ModelFamily) -> dict[Name, LoraLayer]:
    found = detect(path)
    if found.kind != "lora":
        raise WeightsError(f"{path} is not a LoRA but {found.title or 'of no kind that fsd knows'}", "give a LoRA")
    if found.layout not in ("", family.layout):
        hint = f"choose a LoRA for {family.title}, or the model that this one is made for"
        raise RecipeError(f"{path.name} is {found.title}, not for {family.title}", hint)
    return read_layers(path, *read_weights(path), names_of(family.layout))


def weight_of(pipeline: Any, name: Name, path: Path) -> Tensor:
    """The weight of a layer, by part and name; transformers 5 dropped a word from the names of CLIP's layers."""
    part, layer = name
    for spelled in (layer, layer.removeprefix("text_model."), f"text_model.{layer}"):
        try:
            found: Any = getattr(pipeline, part).get_submodule(spelled).weight
            return found
        except AttributeError:
            continue
    raise WeightsError(f"{path.name} changes {part}.{layer}, which the model lacks", "it is for another model")


def _change(layer: LoraLayer, weight: Tensor, path: Path) -> Tensor:
    down, up = (torch.from_numpy(cast(side, layer.dtype, "F32").copy()) for side in (layer.down, layer.up))
    try:
        change = layer.scale * (up.flatten(1).to(weight.device) @ down.flatten(1).to(weight.device))
        return change.reshape(weight.shape).to(weight.dtype)
    except RuntimeError:
        shapes = f"{list(up.shape)} x {list(down.shape)} on {list(weight.shape)}"
        raise WeightsError(f"{path.name} does not fit the model: {shapes}", "it is for another model") from None
