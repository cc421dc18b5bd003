"""What the text encoders make of prompts: once for all, kept in the session's cache, or anew while they are trained."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fsd.train.cache import cached, weights_key
from fsd.train.network import Conditioning, network_of, text_pipeline
from fsd.weights.backbone import model_index, text_parts


def load_text_encoder(
    model: Path, part: str, folder: Path, device: torch.device, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """A text encoder from its folder, of the class that the model names, with the attention that is fast on the device."""
    library, name = model_index(model)[part]
    attention = {"attn_implementation": "eager"} if device.type == "cpu" else {}
    kind = getattr(importlib.import_module(library), name)
    return kind.from_pretrained(folder, dtype=dtype, **attention).to(device)


def encode_prompts(
    prompts: Sequence[str],
    model: Path,
    parts: dict[str, Path],
    cache: Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Conditioning:
    """The conditioning of the prompts, float32 on the CPU; from the cache when text encoders and prompts are the same.

    parts: the folder of each part. dtype: what the encoders run in.
    """
    encoders = text_parts(model)

    def encode() -> Conditioning:
        loaded: dict[str, Any] = {
            part: load_text_encoder(model, part, parts[part], device, dtype).requires_grad_(False) for part in encoders
        }
        pipeline, network = text_pipeline(model, loaded), network_of(model)
        each = [network.encode(pipeline, [prompt]) for prompt in prompts]
        return {name: torch.cat([one[name].cpu() for one in each]) for name in each[0]}

    weights = [key for part in encoders for key in weights_key(parts[part])]
    return cached(cache, "embeddings", [str(dtype), *weights, *prompts], encode)
