"""A picture's settings as the form's values."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsd.families.samplers import known_name
from fsd.infotext import parse, split_lora
from fsd.webui.engine import ModelChoice
from fsd.webui.studio.sizes import size_px, size_text

_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", int),
    "CFG scale": ("guidance", float),
    "Seed": ("seed", int),
    "Size": ("size", lambda text: size_text(*size_px(text))),
    "Denoising strength": ("strength", float),
}
"""By their names in the text: the form's field, and how its value is read."""


def form_values(infotext: str, models: list[ModelChoice], loras: list[ModelChoice]) -> dict[str, Any]:
    """The form's values by their names that these settings tell; what cannot be read, or is not here, is left out.

    The mode becomes text to image: a picture to start from is not kept with the settings.
    """
    found = parse(infotext)
    prompt, named = split_lora(found.prompt)
    values: dict[str, Any] = {"prompt": prompt, "negative": found.negative, "mode": "Text to image", "images": 1}
    for name, (field, read) in _READERS.items():
        with suppress(Exception):
            values[field] = read(found.settings[name])
    if sampler := found.settings.get("Sampler"):
        values["sampler"] = known_name(sampler, found.settings.get("Schedule type", ""))
    if model := _named(found.settings.get("Model", ""), models):
        values["model"] = model
    known = [(spec, weight) for name, weight in named if (spec := _named(name, loras))]
    values["loras"] = [spec for spec, _ in known]
    return values | ({"lora_weight": known[0][1]} if known else {})


def _named(name: str, choices: list[ModelChoice]) -> str:
    """The spec of the choice that a picture's settings mean by a name; "" for none.

    A session's model is written with the checkpoints that it is made of, "cup+unet-000500".
    """
    if not name:
        return ""
    first, _, rest = name.partition("+")
    wanted = [name, f"{first}@{rest.rpartition('+')[2]}" if rest else name, re.split(r"[+@]", name)[0]]
    for one in wanted:
        for choice in choices:
            if one.lower() in (choice.spec.lower(), choice.title.lower(), Path(choice.spec).stem.lower()):
                return choice.spec
    return ""
