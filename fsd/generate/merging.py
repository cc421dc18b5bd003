"""LoRA on a model in memory: its change is added to the weights, and taken out again by putting the old ones back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from fsd.errors import MachineError, RecipeError, WeightsError
from fsd.generate.opening import Opened
from fsd.job import Lora
from fsd.weights.detect import detect
from fsd.weights.lora_layers import LoraLayer, cast
from fsd.weights.lora_names import names_of
from fsd.weights.lora_read import read_layers
from fsd.weights.weight_file import read_weights


@torch.no_grad()
def merge(model: Opened, loras: Iterable[Lora]) -> None:
    """Give the model these LoRAs and no others; nothing is done if it has them.

    RecipeError for a LoRA of another kind of model, WeightsError for a file that holds none or does not fit; the model
    is then as it was without any.
    """
    wanted = tuple((one.path, one.weight, Path(one.path).stat().st_mtime_ns) for one in map(_there, loras))
    if model.loras == wanted:
        return
    _restore(model)
    try:
        for path, strength, _ in wanted:
            _add(model, Path(path), strength)
    except BaseException:
        _restore(model)
        raise
    model.loras = wanted


def lora_hash(path: Path) -> str:
    """What the web UI calls a LoRA by: the first 12 digits of the SHA-256 of all that follows the header."""
    with path.open("rb") as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), "little"))
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]


def _there(lora: Lora) -> Lora:
    if not Path(lora.path).is_file():
        raise WeightsError(f"there is no LoRA file {lora.path}", "check the path, or put it into the web UI's folder")
    return lora


def _add(model: Opened, path: Path, strength: float) -> None:
    """Add a LoRA's change; the weights that it meets for the first time are kept first."""
    for name, layer in _layers(path, model).items():
        weight = _weight(model, name, path)
        if weight.is_meta:
            what = "this GPU is so small that the model's layers take turns on it, and no LoRA can be added to them"
            raise MachineError(what, "use a smaller model, or a session's checkpoint instead of a LoRA")
        if name not in model.replaced:
            model.replaced[name] = weight.detach().cpu().clone()
        weight.add_(_change(layer, weight, path), alpha=strength)


def _restore(model: Opened) -> None:
    model.loras = ()
    for name, weight in model.replaced.items():
        _weight(model, name, Path()).copy_(weight)
    model.replaced.clear()


def _layers(path: Path, model: Opened) -> dict[tuple[str, str], LoraLayer]:
    found = detect(path)
    layout = model.family.layout
    if found.kind != "lora":
        raise WeightsError(f"{path} is not a LoRA but {found.title or 'of no kind that fsd knows'}", "give a LoRA")
    if found.layout not in ("", layout):
        hint = f"choose a LoRA for {model.family.title}, or the model that this one is made for"
        raise RecipeError(f"{path.name} is {found.title}, not for {model.family.title}", hint)
    return read_layers(path, *read_weights(path), names_of(layout))


def _weight(model: Opened, name: tuple[str, str], path: Path) -> torch.Tensor:
    """The weight of a layer, by part and name; transformers 5 dropped a word from the names of CLIP's layers."""
    part, layer = name
    for spelled in (layer, layer.removeprefix("text_model."), f"text_model.{layer}"):
        try:
            found: Any = getattr(model.pipeline, part).get_submodule(spelled).weight
            return found
        except AttributeError:
            continue
    raise WeightsError(f"{path.name} changes {part}.{layer}, which the model lacks", "it is for another model")


def _change(layer: LoraLayer, weight: torch.Tensor, path: Path) -> torch.Tensor:
    down, up = (torch.from_numpy(cast(side, layer.dtype, "F32").copy()) for side in (layer.down, layer.up))
    try:
        change = layer.scale * (up.flatten(1).to(weight.device) @ down.flatten(1).to(weight.device))
        return change.reshape(weight.shape).to(weight.dtype)
    except RuntimeError:
        shapes = f"{list(up.shape)} x {list(down.shape)} on {list(weight.shape)}"
        raise WeightsError(f"{path.name} does not fit the model: {shapes}", "it is for another model") from None
