"""ControlNets: found, read whatever their form, refused where they are another family's, and the pictures that they follow."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from fsd.errors import RecipeError, WeightsError
from fsd.families import get_family
from fsd.families.family import ModelFamily
from fsd.families.rules import need_controlnet
from fsd.generate.opening import Opened
from fsd.generate.pipelines import PIPELINES
from fsd.job import Control
from fsd.weights.detect import detect
from fsd.weights.parts import read_json

_BLOCKS = {
    "num_layers": r"(^|\.)transformer_blocks\.(\d+)\.",
    "num_single_layers": r"single_transformer_blocks\.(\d+)\.",
}
_HINT = "use the Diffusers folder of the same ControlNet"


def controlnets(model: Opened, controls: tuple[Control, ...]) -> list[Any]:
    """The networks that these controls ask for; they stay with the model, others go. Errors as `load_controlnet`."""
    wanted = [(one.model, _changed(one.model)) for one in controls]
    model.controlnets = {key: network for key, network in model.controlnets.items() if key in wanted}
    for key in wanted:
        if key not in model.controlnets:
            model.controlnets[key] = load_controlnet(Path(key[0]).expanduser(), model)
    return [model.controlnets[key] for key in wanted]


def load_controlnet(path: Path, model: Opened) -> Any:
    """The ControlNet in a Diffusers folder or a single file, not yet placed.

    WeightsError for what holds none, RecipeError for one that another family's header gives away.
    """
    check_controlnet(path, model.family)
    try:
        kind = _kind(path, model.family.layout)
        if path.is_dir():
            return kind.from_pretrained(path, local_files_only=True)
        return _from_file(path, kind, model)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as fault:
        first_line = str(fault).partition("\n")[0]
        raise WeightsError(f"the ControlNet {path.name} does not fit the model: {first_line}", _HINT) from fault


def check_controlnet(path: Path, family: ModelFamily) -> None:
    """Errors as `load_controlnet` says, from the header alone."""
    found = detect(path)
    if found.kind != "controlnet":
        what = found.title or "of no kind that fsd knows"
        raise WeightsError(f"{path} is not a ControlNet but {what}", "give a ControlNet file or its Diffusers folder")
    if found.family:
        need_controlnet(family, get_family(found.family), path.name)
    if found.layout not in ("", family.layout):
        hint = f"choose a ControlNet made for {family.title}"
        raise RecipeError(f"{path.name} is {found.title}, not for {family.title}", hint)


def is_union(network: Any) -> bool:
    """Whether a ControlNet reads many kinds of picture and is told which."""
    return "num_control_type" in network.config or bool(network.config.get("num_mode"))


def control_arguments(
    model: Opened, pipeline: Any, controls: tuple[Control, ...], pictures: list[Any]
) -> dict[str, Any]:
    """How a pipeline is told to follow the pictures; one control alone is not put into lists.

    RecipeError when a union ControlNet is not told what its picture shows.
    """
    known = inspect.signature(type(pipeline).__call__).parameters
    networks = [pipeline.controlnet] if len(controls) == 1 else list(pipeline.controlnet.nets)
    modes = [_mode(model, control, network) for control, network in zip(controls, networks, strict=True)]
    found: dict[str, list[Any]] = {
        "control_image" if "control_image" in known else "image": pictures,
        "controlnet_conditioning_scale": [control.weight for control in controls],
        "control_guidance_start": [control.start for control in controls],
        "control_guidance_end": [control.end for control in controls],
    }
    if any(mode is not None for mode in modes):
        found["control_mode"] = modes
    return {name: value[0] if len(controls) == 1 else value for name, value in found.items()}


def preprocessed(picture: Image.Image, control: Control) -> Image.Image:
    """What the network sees of a picture: itself, its edges (Canny) or its negative."""
    if control.preprocessor == "invert":
        return ImageOps.invert(picture)
    if control.preprocessor == "canny":
        import cv2

        return Image.fromarray(cv2.Canny(np.asarray(picture), control.low, control.high)).convert("RGB")
    return picture


def _mode(model: Opened, control: Control, network: Any) -> int | None:
    if not is_union(network):
        return None
    modes = PIPELINES[model.family.layout].modes
    wanted = control.mode or (control.preprocessor if control.preprocessor in modes else "")
    if wanted not in modes:
        hint = f"say what its picture shows: {', '.join(modes)}"
        raise RecipeError(
            f"the ControlNet {Path(control.model).name} reads many kinds of picture, not {wanted!r}", hint
        )
    return modes.index(wanted)


def _kind(path: Path, layout: str) -> Any:
    kinds = PIPELINES[layout]
    name = kinds.controlnet
    if path.is_dir():
        name = read_json(path / "config.json").get("_class_name", name)
    elif kinds.union and _holds(path, "task_embedding"):
        name = kinds.union
    if name not in (kinds.controlnet, kinds.union):
        raise WeightsError(f"{path} is a {name}", f"this kind of model takes {kinds.controlnet}")
    return getattr(importlib.import_module("diffusers"), name)


def _holds(path: Path, key: str) -> bool:
    from fsd.weights.weight_file import read_weights

    return any(name.startswith(key) for name in read_weights(path)[0])


def _from_file(path: Path, kind: Any, model: Opened) -> Any:
    """A single file, whose configuration follows from the model that it helps and from the layers that it has."""
    weights = _read(path)
    settings = _settings(kind, model, weights)
    if any(key.startswith(("input_hint_block", "control_model.", "time_embed.")) for key in weights):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.json").write_text(json.dumps(settings))
            return kind.from_single_file(weights, config=folder, local_files_only=True)
    network = kind.from_config(settings)
    network.load_state_dict(weights)
    return network.eval()


def _settings(kind: Any, model: Opened, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    known = inspect.signature(kind.__init__).parameters
    settings = {name: value for name, value in model.backbone.config.items() if name in known}
    if "transformer_blocks.0.norm1.linear.weight" in weights:
        for name, pattern in _BLOCKS.items():
            found = [int(match.groups()[-1]) for key in weights if (match := re.search(pattern, key))]
            settings[name] = max(found, default=-1) + 1
        settings["pos_embed_type"] = "sincos" if "pos_embed.pos_embed" in weights else None
        if (extra := weights.get("pos_embed_input.proj.weight")) is not None:
            settings["extra_conditioning_channels"] = extra.shape[1] - settings["in_channels"]
    settings["conditioning_embedding_out_channels"] = _widths(weights)
    if (tasks := weights.get("task_embedding")) is not None:
        settings |= {"num_control_type": len(tasks), "num_trans_channel": tasks.shape[1]}
        settings["num_proj_channel"] = len(weights["spatial_ch_projs.weight"])
    if (modes := weights.get("controlnet_mode_embedder.weight")) is not None:
        settings["num_mode"] = len(modes)
    return {"_class_name": kind.__name__, **{name: value for name, value in settings.items() if name in known}}


def _widths(weights: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """The widths of the convolutions that read the control image: the first, then every second block's."""
    name = "controlnet_cond_embedding."
    found = [weights[f"{name}conv_in.weight"]] if f"{name}conv_in.weight" in weights else []
    while found and (block := weights.get(f"{name}blocks.{2 * len(found) - 1}.weight")) is not None:
        found.append(block)
    return tuple(len(block) for block in found) or (16, 32, 96, 256)


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    found = torch.load(path, map_location="cpu", weights_only=True)
    return dict(found.get("state_dict", found))


def _changed(spec: str) -> int:
    path = Path(spec).expanduser()
    return path.stat().st_mtime_ns if path.exists() else 0
