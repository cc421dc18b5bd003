"""ControlNets: found, read whatever their form, refused where they are another family's, and the pictures that they follow."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from fsd.errors import RecipeError, WeightsError
from fsd.families import get_family
from fsd.families.controlnets import OTHER_WORDS
from fsd.families.family import ModelFamily
from fsd.families.rules import need_controlnet
from fsd.generate.control_files import read_controlnet
from fsd.generate.opening import Opened
from fsd.generate.pipelines import PIPELINES
from fsd.job import Control
from fsd.weights.detect import detect

_HINT = "use the Diffusers folder of the same ControlNet"


def controlnets(model: Opened, controls: tuple[Control, ...]) -> list[Any]:
    """The networks that these controls ask for; they stay with the model, others go. Errors as `load_controlnet`."""
    wanted = [(one.model, _changed(one.model)) for one in controls]
    model.controlnets = {key: network for key, network in model.controlnets.items() if key in wanted}
    for key in wanted:
        if key not in model.controlnets:
            model.controlnets[key] = load_controlnet(Path(os.path.expanduser(key[0])), model)
    return [model.controlnets[key] for key in wanted]


def load_controlnet(path: Path, model: Opened) -> Any:
    """The ControlNet in a Diffusers folder or a single file, not yet placed.

    WeightsError for what holds none, RecipeError for one that another family's header gives away.
    """
    check_controlnet(path, model.family)
    try:
        return read_controlnet(path, model.family.layout, model.backbone.config)
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
    count = network.config.get("num_control_type") or network.config["num_mode"]
    modes = PIPELINES[model.family.layout].modes[:count]
    known = [task for mode in modes for task in mode]
    asked = control.mode or control.preprocessor
    wanted = OTHER_WORDS.get(asked, asked)
    if wanted not in known:
        hint = f"say what its picture shows: {', '.join(known)}"
        what = f"reads many kinds of picture, not {control.mode!r}" if control.mode else "reads many kinds of picture"
        raise RecipeError(f"the ControlNet {Path(control.model).name} {what}", hint)
    return next(number for number, mode in enumerate(modes) if wanted in mode)


def _changed(spec: str) -> int:
    path = os.path.expanduser(spec)
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0
