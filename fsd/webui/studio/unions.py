"""ControlNets for many tasks, told by their files alone: they want to know what their picture shows."""

from __future__ import annotations

import os
from pathlib import Path

from fsd.errors import FsdError
from fsd.weights.parts import read_json
from fsd.weights.weight_file import read_weights

_KEYS = ("task_embedding", "controlnet_mode_embedder.")


def reads_many(path: str) -> bool:
    """Whether a ControlNet's folder or file is one for many tasks; False where that cannot be read."""
    place = Path(path)
    try:
        if os.path.isdir(place):
            config = read_json(place / "config.json")
            return "num_control_type" in config or bool(config.get("num_mode"))
        return os.path.isfile(place) and any(key.startswith(_KEYS) for key in read_weights(place)[0])
    except FsdError:  # what is wrong with it is said when it is used
        return False
