"""The parts of a Diffusers folder: their configuration and the places of their tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fsd.errors import WeightsError
from fsd.weights.tensors import StoredTensor, damaged
from fsd.weights.weight_file import read_weights

STEMS = {".safetensors": ("diffusion_pytorch_model", "model"), ".bin": ("diffusion_pytorch_model", "pytorch_model")}
VARIANTS = ("", ".fp16", ".non_ema")
"""Whole weights first, then half precision, then what trained on without averaging."""

OTHERS = {".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".msgpack", ".onnx"}


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; WeightsError naming the file when it is missing or holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise WeightsError(f"{path} cannot be read: {fault.strerror}", "point to a whole Diffusers folder") from None
    except (ValueError, RecursionError) as fault:
        raise damaged(path, f"it is not JSON ({fault})") from None
    if not isinstance(found, dict):
        raise damaged(path, "it holds no settings")
    return found


def read_config(part: Path) -> dict[str, Any]:
    """The `config.json` of a part."""
    return read_json(part / "config.json")


def weight_files(part: Path, pickles: bool = False) -> list[Path]:
    """The safetensors files of a part: one, or the shards that an index lists; full precision before variants.

    pickles: `.bin` files will do where there are no others. WeightsError when there are none, naming what is there.
    """
    for suffix in [".safetensors", ".bin"] if pickles else [".safetensors"]:
        for variant in VARIANTS:
            for stem in STEMS[suffix]:
                whole = part / f"{stem}{variant}{suffix}"
                index = part / f"{stem}{suffix}.index{variant}.json"
                if whole.is_file():
                    return [whole]
                if index.is_file():
                    return _shards(index)
    if others := sorted(path.name for path in part.glob("*") if path.suffix in OTHERS):
        what = f"{part} has no weights that fsd reads, only {', '.join(others)}"
        single = [name for name in others if name.endswith(".safetensors")]
        hint = f"name the file itself: {part / single[0]}" if single else "get the model's .safetensors files"
        raise WeightsError(what, hint)
    raise WeightsError(f"{part} holds no weights", "point to a whole Diffusers folder, or download it again")


def _shards(index: Path) -> list[Path]:
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) and "/" not in name for name in named.values()):
        raise damaged(index, "it lists no files")
    return [index.parent / name for name in sorted(set(named.values()))]


def read_part(part: Path) -> list[StoredTensor]:
    """Every tensor of a part's weight files, `.bin` ones too, by the names that the files give them."""
    return [tensor for file in weight_files(part, pickles=True) for tensor in read_weights(file)[0].values()]
