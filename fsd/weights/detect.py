"""What a model file or folder is, from its header or pickle index alone: nothing is executed, no network is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fsd.errors import WeightsError


@dataclass(frozen=True)
class Detected:
    """What a file or folder is, and what it was recognised by.

    kind: "model", "lora", "vae", "controlnet", "text_encoder", "embedding" or "unknown". family: a name in FAMILIES, or
    "" where no record fits or several do. layout: "sd1", "sd2", "sdxl", "sd3", "flux" or "". form: "single-file",
    "diffusers", "kohya" or "peft". title: what it is in words. prediction: "epsilon", "v_prediction", "flow" or "".
    dtypes: as safetensors calls them, most bytes first. ema: whether it also holds averaged weights. parts: as a
    Diffusers folder calls them. signals: what was found; of an unknown file, what was looked for.
    """

    kind: str
    family: str = ""
    layout: str = ""
    form: str = ""
    title: str = ""
    prediction: str = ""
    inpainting: bool = False
    dtypes: tuple[str, ...] = ()
    ema: bool = False
    parts: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def detect(path: Path) -> Detected:
    """What the file or Diffusers folder at `path` is; kind "unknown" where nothing fits.

    WeightsError naming the file when it is missing, damaged, or would run code.
    """
    return Detected("unknown")


def require_model(path: Path) -> Detected:
    """What the model at `path` is; WeightsError saying what else it is when it is not a whole model."""
    found = detect(path)
    if found.kind != "model":
        raise WeightsError(f"{path} is not a model but {found.title or found.kind}", "give a checkpoint")
    return found
