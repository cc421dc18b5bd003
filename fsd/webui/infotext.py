"""A picture's settings put back to use: from the text in its PNG, ours or another web UI's, to what a Job takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsd.families.samplers import known_name
from fsd.infotext import Infotext, parse, quoted, split_lora, write
from fsd.webui.choices import ModelChoice

__all__ = ["Infotext", "job_settings", "model_spec", "parse", "quoted", "split_lora", "write"]


def job_settings(text: str, models: Sequence[ModelChoice] = (), loras: Sequence[ModelChoice] = ()) -> dict[str, Any]:
    """What a picture's settings say, by the names of Job's fields; what they do not say, or say badly, is left out.

    models, loras: those that can be asked for; a model that is none of these is left out too. `lora` is a tuple of
    (path, or the name in the text where none is known, weight). Controls and pictures to start from are not in a text.
    """
    info = parse(text)
    prompt, named = split_lora(info.prompt)
    found: dict[str, Any] = {"prompt": prompt, "negative": info.negative}
    found |= {field: value for field, value in _numbers(info).items() if value is not None}
    if sampler := info.settings.get("Sampler"):
        found["sampler"] = known_name(sampler, info.settings.get("Schedule type", ""))
    if spec := model_spec(info, models):
        found["model"] = spec
    if named:
        found["lora"] = tuple((_lora(name, loras), weight) for name, weight in named)
    if "strength" in found:
        found["mode"] = "inpaint" if "Mask blur" in info.settings else "img2img"
    return found


def model_spec(info: Infotext, models: Sequence[ModelChoice]) -> str:
    """The model that the settings name, as a Job takes it; "" if it is not there."""
    name = info.settings.get("Model", "")
    parts = name.split("+")  # SESSION+CHECKPOINT+CHECKPOINT, as what was trained says it
    for wanted in dict.fromkeys([name, f"{parts[0]}@{parts[-1]}", parts[0]]):
        for choice in models:
            path = choice.path if choice.kind == "file" else None
            if wanted and wanted in (choice.spec, path and path.stem, path and path.name):
                return choice.spec
    return ""


def _numbers(info: Infotext) -> dict[str, Any]:
    settings = info.settings
    size = re.fullmatch(r"\s*(\d{1,9})\s*x\s*(\d{1,9})\s*", settings.get("Size", ""))
    padded = settings.get("Masked area padding", "") if settings.get("Inpaint area") == "Only masked" else ""
    return {
        "steps": _as(int, settings.get("Steps", "")),
        "guidance": _as(float, settings.get("CFG scale", "")),
        "seed": _as(int, settings.get("Seed", "")),
        "width_px": int(size[1]) if size else None,
        "height_px": int(size[2]) if size else None,
        "strength": _as(float, settings.get("Denoising strength", "")) if "Hires upscale" not in settings else None,
        "mask_blur_px": _as(int, settings.get("Mask blur", "")),
        "mask_padding_px": _as(int, padded),
    }


def _as(kind: Callable[[str], Any], text: str) -> Any:
    with suppress(ValueError):
        return kind(text)
    return None


def _lora(name: str, loras: Sequence[ModelChoice]) -> str:
    return next((one.spec for one in loras if Path(one.spec).stem == name), name)
