"""The layers that a LoRA file changes, however it names them: kohya's, peft's, Diffusers' old ones, the original code's."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fsd.errors import WeightsError
from fsd.weights.lora_layers import LoraLayer, cut, load, turned
from fsd.weights.lora_names import Module, Names
from fsd.weights.prediction import read_values
from fsd.weights.tensors import StoredTensor, damaged

ADAPTER_METADATA = "lora_adapter_metadata"
"""Where Diffusers keeps peft's settings, in the header's metadata."""
_ENDING = re.compile(
    r"(?:\.lora_(?P<new>down|up|A|B)(?:\.default)?|[._]lora(?:_linear_layer)?\.(?P<old>down|up))(?:\.weight)?$"
)
_SIDES = {"down": "down", "A": "down", "up": "up", "B": "up"}
_TODAY = (
    (r"\.processor(?=\.)", ""),
    (r"self_attn\.to_(q|k|v|out)$", r"self_attn.\1_proj"),
    (r"\.to_out$", ".to_out.0"),
)
"""How Diffusers called layers before it used peft."""
Layers = dict[tuple[str, str], LoraLayer]
"""By part and name of the Diffusers folder."""


def read_layers(path: Path, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str], names: Names) -> Layers:
    """The layers that a LoRA changes, each as a layer of Diffusers' network; WeightsError naming what does not fit."""
    sides: dict[str, dict[str, StoredTensor]] = {}
    faults = []
    for key, tensor in tensors.items():
        match = _ENDING.search(key)
        if match or key.endswith(".alpha"):
            stem = _today(key[: match.start()] if match else key.removesuffix(".alpha"))
            sides.setdefault(stem, {})[_SIDES[match["new"] or match["old"]] if match else "alpha"] = tensor
        else:
            faults.append(f"{key} is of no plain LoRA")
    settings = _settings(path, metadata)
    layers: Layers = {}
    for stem, held in sides.items():
        try:
            module, name = names.find(stem)
        except KeyError:
            faults.append(f"no layer is called {stem}")
            continue
        layer = _layer(stem, held, settings, faults)
        if layer:
            layers |= _found(layer, module, name)
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        what = f"{path} cannot be converted as a {names.layout.name} LoRA: {shown}"
        raise WeightsError(what, "only plain LoRA is known: no DoRA, LoHa, LoKr or OFT")
    return layers


def _today(stem: str) -> str:
    for pattern, new in _TODAY:
        stem = re.sub(pattern, new, stem)
    return stem


def _found(layer: LoraLayer, module: Module, name: str) -> Layers:
    """A Diffusers layer as it is; one of the original code as the Diffusers layers that it holds."""
    if name:
        return {(module.part, name): layer}
    if len(module.names) == 1:
        return {(module.part, module.names[0]): turned(layer, module)}
    return {(module.part, part): held for part, held in cut(layer, module).items()}


def _layer(
    stem: str, held: Mapping[str, StoredTensor], settings: dict[str, Any], faults: list[str]
) -> LoraLayer | None:
    if "down" not in held or "up" not in held:
        faults.append(f"{stem} has only {', '.join(held)}")
        return None
    down, up = held["down"], held["up"]
    fits = len(down.shape) == len(up.shape) and len(down.shape) in (2, 4) and down.shape[0] == up.shape[1]
    if not fits or 0 in (*down.shape, *up.shape) or down.dtype != up.dtype:
        faults.append(f"{stem} has {down.dtype} {list(down.shape)} below {up.dtype} {list(up.shape)}")
        return None
    scale = _scale(stem, down.shape[0], held.get("alpha"), settings)
    if not math.isfinite(scale):
        faults.append(f"{stem} has an alpha that is no number")
    return LoraLayer(load(down), load(up), down.dtype, scale)


def _scale(stem: str, rank: int, alpha: StoredTensor | None, settings: dict[str, Any]) -> float:
    """What the layer's change is multiplied by: alpha / rank, or alpha / sqrt(rank) where peft was told so; else 1."""
    if alpha is not None:
        values = read_values(alpha)
        return values[0] / rank if len(values) == 1 else math.nan
    part = stem.split(".")[0]
    said = {name.removeprefix(f"{part}."): value for name, value in settings.items()}
    if not isinstance(said.get("lora_alpha"), int | float):
        return 1.0
    found = float(_by_pattern(said.get("alpha_pattern"), stem, said["lora_alpha"]))
    return found / (math.sqrt(rank) if said.get("use_rslora") else rank)


def _by_pattern(patterns: object, stem: str, usual: float) -> float:
    """peft's setting for a layer: that of the first pattern that matches the end of its name."""
    pairs: Iterable[tuple[str, float]] = patterns.items() if isinstance(patterns, dict) else ()
    return next((value for pattern, value in pairs if re.match(rf"(.*\.)?({pattern})$", stem)), usual)


def _settings(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """peft's settings: from the header, each with its part before it, or from the adapter_config.json beside the file."""
    config = path.with_name("adapter_config.json")
    try:
        if ADAPTER_METADATA in metadata:
            found = json.loads(metadata[ADAPTER_METADATA])
        else:
            found = json.loads(config.read_text()) if path.stem == "adapter_model" and config.is_file() else {}
    except (ValueError, RecursionError) as fault:
        raise damaged(path, f"its settings are not JSON ({fault})") from None
    return found if isinstance(found, dict) else {}
