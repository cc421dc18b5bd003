"""Tensors that are made once: kept in the session's cache under a key of all that they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fsd.runtime import files, report
from fsd.weights.base_folder import file_fingerprint


def weights_key(folder: Path) -> list[str]:
    """What tells the weights of a part from others."""
    return [file_fingerprint(file) for file in sorted(folder.glob("*.safetensors"))]


@torch.no_grad()
def cached(cache: Path, name: str, key: list[str], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `make` gives, in float32, from NAME-*.safetensors in the cache if it was made before with the same key."""
    path = cache / f"{name}-{hashlib.sha256(chr(10).join(key).encode()).hexdigest()[:16]}.safetensors"
    if path.exists():
        try:
            return load_file(path)
        except (SafetensorError, OSError) as fault:
            report.say(f"the cache file {path.name} is damaged ({fault}) and is made again")
    made = {label: tensor.float().contiguous() for label, tensor in make().items()}
    with files.replacing(path) as temporary:
        save_file(made, temporary)
    return made
