"""A model's networks as its files tell them, without loading any: which they are and what the backbone reads of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fsd.families.family import TextEncoder
from fsd.weights.detect import BACKBONES
from fsd.weights.parts import read_config, read_json

Shapes = dict[str, tuple[int, ...]]
"""Of each tensor that a backbone reads of one prompt, by name."""


def model_index(model: Path) -> dict[str, Any]:
    """A Diffusers folder's model_index.json: (library, class) of each part."""
    return read_json(model / "model_index.json")


def backbone_part(model: Path) -> str:
    """The folder of a model's backbone: "unet" or "transformer"."""
    index = model_index(model)
    return next(part for part in BACKBONES if part in index)


def text_parts(model: Path) -> list[str]:
    """The folders of a model's text encoders, in their order."""
    return sorted(part for part, kind in model_index(model).items() if part.startswith("text_encoder") and kind[0])


def backbone_kind(index: dict[str, Any], config: dict[str, Any]) -> str:
    """The kind of backbone, from a model_index.json and the backbone's configuration: its class and what is added to it."""
    kind = next(index[part][1] for part in BACKBONES if part in index)
    return f"{kind}:{config['addition_embed_type']}" if config.get("addition_embed_type") else str(kind)


def kind_of_model(model: Path) -> str:
    """The kind of a Diffusers folder's backbone."""
    return backbone_kind(model_index(model), read_config(model / backbone_part(model)))


def prompt_shapes(kind: str, config: Any, encoders: Sequence[TextEncoder]) -> Shapes:
    """What a backbone of a kind and configuration reads of a prompt. encoders: the family's."""
    return _SHAPES[kind](config, encoders)


def _unet(config: Any, encoders: Sequence[TextEncoder]) -> Shapes:
    return {"states": (encoders[0].tokens, config["cross_attention_dim"])}


def _sdxl(config: Any, encoders: Sequence[TextEncoder]) -> Shapes:
    pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    return _unet(config, encoders) | {"pooled": (pooled,)}


def _sd3(config: Any, encoders: Sequence[TextEncoder]) -> Shapes:
    """The words of the first two encoders stand on top of each other, and T5's behind them."""
    tokens = encoders[0].tokens + encoders[-1].tokens
    return {"states": (tokens, config["joint_attention_dim"]), "pooled": (config["pooled_projection_dim"],)}


def _flux(config: Any, encoders: Sequence[TextEncoder]) -> Shapes:
    tokens = encoders[-1].tokens
    return {"states": (tokens, config["joint_attention_dim"]), "pooled": (config["pooled_projection_dim"],)}


_SHAPES: dict[str, Callable[[Any, Sequence[TextEncoder]], Shapes]] = {
    "UNet2DConditionModel": _unet,
    "UNet2DConditionModel:text_time": _sdxl,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
}
