"""LoRA on a model in memory: its change is added to the weights, and taken out again by putting the old ones back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch

from fsd.errors import WeightsError
from fsd.generate.changing import changes, weight_of
from fsd.generate.opening import Opened
from fsd.job import Lora


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
    for name, weight, change in changes(model.pipeline, model.family, path):
        if name not in model.replaced:
            model.replaced[name] = weight.detach().cpu().clone()
        weight.add_(change, alpha=strength)


def _restore(model: Opened) -> None:
    model.loras = ()
    for name, weight in model.replaced.items():
        weight_of(model.pipeline, name, Path()).copy_(weight)
    model.replaced.clear()
