"""The families' configurations, as on the hub: what their parts, pipelines and schedulers are built from."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from fsd.errors import RecipeError


def family_config(family: str, part: str) -> dict[str, Any]:
    """The `config.json` of a family's part ("unet", "transformer", "vae", "text_encoder", ...), or the family's
    "model_index" or "scheduler"; RecipeError where the family has no such part.
    """
    return dict(_read(family, part))


@cache
def _read(family: str, part: str) -> dict[str, Any]:
    path = Path(__file__).parent / family / f"{part}.json"
    if not path.is_file():
        raise RecipeError(f"there is no configuration of {family!r}, part {part!r}", "fsd families lists the families")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
