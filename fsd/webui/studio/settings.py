"""A picture's settings as the form's values."""

from __future__ import annotations

from typing import Any

from fsd.infotext import with_lora
from fsd.webui.engine import ModelChoice
from fsd.webui.infotext import job_settings
from fsd.webui.studio.form import LIMITS
from fsd.webui.studio.sizes import size_text

_AS_THEY_ARE = ("prompt", "negative", "steps", "guidance", "seed", "sampler", "strength", "model")


def form_values(infotext: str, models: list[ModelChoice], loras: list[ModelChoice]) -> dict[str, Any]:
    """The form's values by their names that these settings tell; what cannot be read, is not here, or is beyond its
    slider is left out.

    The mode becomes text to image: a picture to start from is not kept with the settings. LoRAs of different weights, or
    of one beyond the slider, are named in the prompt, as the field for them has but one.
    """
    found = job_settings(infotext, models, loras)
    values = {name: found[name] for name in _AS_THEY_ARE if name in found and _fits(name, found[name])}
    values |= {"mode": "Text to image", "images": 1, "loras": []}
    if {"width_px", "height_px"} <= found.keys():
        values["size"] = size_text(found["width_px"], found["height_px"])
    known = {one.spec: one.path.stem if one.path else one.spec for one in loras}
    named = {spec: weight for spec, weight in found.get("lora", ()) if spec in known}
    if len({*named.values()}) > 1 or not all(_fits("lora_weight", weight) for weight in named.values()):
        return values | {"prompt": with_lora(found["prompt"], {known[spec]: named[spec] for spec in named})}
    return values | ({"loras": [*named], "lora_weight": next(iter(named.values()))} if named else {})


def _fits(name: str, value: Any) -> bool:
    return name not in LIMITS or LIMITS[name][0] <= value <= LIMITS[name][1]
