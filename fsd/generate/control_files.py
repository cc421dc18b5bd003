"""ControlNets as networks in memory: of a Diffusers folder, or of a single file, whose keys and shapes say how it is built."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights

from fsd.errors import WeightsError
from fsd.generate.pipelines import PIPELINES
from fsd.weights.parts import read_json
from fsd.weights.weight_file import read_weights

_ORIGINAL = ("control_model.", "time_embed.", "input_hint_block.0.")
"""What the keys of files begin with that are not of Diffusers' form."""
_FIRST_LAYERS = ("conv_in.weight", "input_blocks.0.0.weight", "control_model.input_blocks.0.0.weight")


def read_controlnet(path: Path, layout: str, backbone: Mapping[str, Any]) -> Any:
    """The ControlNet of a folder or a file for a model of that layout. backbone: the model's configuration.

    WeightsError for a class that such models do not take; what Diffusers and torch raise for files that do not fit.
    """
    kind = _kind(path, layout)
    if path.is_dir():
        return kind.from_pretrained(path, local_files_only=True)
    weights = _tensors(path)
    settings = controlnet_settings(kind, backbone, weights)
    if hasattr(kind, "from_single_file") and any(key.startswith(_ORIGINAL) for key in weights):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.json").write_text(json.dumps(settings))
            return kind.from_single_file(weights, config=folder, local_files_only=True)
    with init_empty_weights():  # as large as its file from the first moment, not twice that
        network = kind.from_config(settings)
    if missing := [key for key in network.state_dict() if key not in weights]:
        raise ValueError(f"it has no {missing[0]}, nor {len(missing) - 1} others of a {kind.__name__}")
    network.load_state_dict(weights, assign=True)
    return network.eval()


def controlnet_settings(kind: Any, backbone: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The configuration of a file's ControlNet, of class `kind`: the model's own, but where the file shows another."""
    known = inspect.signature(kind.__init__).parameters
    transformer = "transformer_blocks.0.norm1.linear.weight" in weights
    settings = {**backbone, **(_of_transformer(backbone, weights) if transformer else _of_unet(weights))}
    return {"_class_name": kind.__name__, **{name: value for name, value in settings.items() if name in known}}


def _of_unet(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {"conditioning_embedding_out_channels": _widths(weights)}
    for name in {*_FIRST_LAYERS} & {*weights}:
        found["in_channels"] = weights[name].shape[1]  # an inpainting model reads more than its ControlNet
    if (tasks := weights.get("task_embedding")) is not None:
        found |= {"num_control_type": len(tasks), "num_trans_channel": tasks.shape[1]}
        found |= {
            "num_proj_channel": len(weights["spatial_ch_projs.weight"]),
            "num_trans_layer": _count(weights, "transformer_layes"),
        }
    return found


def _of_transformer(backbone: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    context, stem = weights.get("context_embedder.weight"), weights.get("input_hint_block.conv_out.weight")
    has_place, modes = "pos_embed.proj.weight" in weights, weights.get("controlnet_mode_embedder.weight")
    found = {
        "num_layers": _count(weights, "transformer_blocks"),
        "num_single_layers": _count(weights, "single_transformer_blocks"),
        "joint_attention_dim": None if context is None else context.shape[1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in weights,
        "conditioning_embedding_channels": None if stem is None else len(stem),
        "num_mode": None if modes is None else len(modes),
        "qk_norm": backbone.get("qk_norm") if "transformer_blocks.0.attn.norm_q.weight" in weights else None,
        "use_pos_embed": has_place,
        "pos_embed_type": "sincos" if "pos_embed.pos_embed" in weights else None,
        # with its own embedding the pipeline neither shows it the text's summary nor shifts the control image's latents
        "force_zeros_for_pooled_projection": has_place,
    }
    if context is not None:
        found["caption_projection_dim"] = len(context)
    if (extra := weights.get("pos_embed_input.proj.weight")) is not None:
        found["extra_conditioning_channels"] = extra.shape[1] - backbone["in_channels"]
    return found


def _count(weights: Mapping[str, torch.Tensor], name: str) -> int:
    """How many blocks of that name there are, which count from 0."""
    found = [int(match[1]) for key in weights if (match := re.match(rf"{name}\.(\d+)\.", key))]
    return max(found, default=-1) + 1


def _widths(weights: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """The widths of the convolutions that read the control image: the first, then every second block's."""
    name = "controlnet_cond_embedding."
    found = [weights[f"{name}conv_in.weight"]] if f"{name}conv_in.weight" in weights else []
    while found and (block := weights.get(f"{name}blocks.{2 * len(found) - 1}.weight")) is not None:
        found.append(block)
    return tuple(len(block) for block in found) or (16, 32, 96, 256)


def _kind(path: Path, layout: str) -> Any:
    kinds = PIPELINES[layout]
    name = kinds.controlnet
    if path.is_dir():
        name = read_json(path / "config.json").get("_class_name", name)
    elif kinds.union and "task_embedding" in read_weights(path)[0]:
        name = kinds.union
    if name not in (kinds.controlnet, kinds.union):
        raise WeightsError(f"{path} is a {name}", f"this kind of model takes {kinds.controlnet}")
    return getattr(importlib.import_module("diffusers"), name)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    found = torch.load(path, map_location="cpu", weights_only=True)
    return dict(found.get("state_dict", found))
