"""What a job file of `fsd run` may say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from fsd.recipe import STAGES_OF, Recipe

STAGES = ("text_encoder", "unet", "lora", "save_ckpt", "save_lora", "generate", "score")
"""What a job may do after its photos are in, in the only order that makes sense."""
SAVE = {"full": "save_ckpt", "lora": "save_lora"}
"""The stage that writes what a method has trained."""


@dataclass(frozen=True)
class CaptionOrder:
    """As for the verb caption-photos."""

    mode: Literal["keep", "template", "file name", "blip2"] = "keep"
    template: str = ""
    captioner: str = ""
    prefix: str = ""
    replace: str = ""


@dataclass(frozen=True)
class CkptOrder:
    """As for the verb save-ckpt."""

    format: Literal["safetensors", "ckpt"] = "safetensors"
    dtype: Literal["fp16", "fp32"] = "fp16"


@dataclass(frozen=True)
class PictureOrder:
    """As for the verb generate."""

    prompts: tuple[str, ...] = ()
    negative: str = ""
    images: int = 1
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    compare: bool = False


@dataclass(frozen=True)
class JobFile:
    """A whole job. Paths are as seen from the file's folder. settings: of the recipe, nested or with dots in the names.

    photos: a folder, a file or a zip; "" uses those that the session has. base_model: "" for the session's own, else sd15.
    preset: as for add-photos. stages: of STAGES; they settle the method (where none are named it settles them).
    root: as for open-session. fork: go on from checkpoints although settings have changed since.
    disconnect: when all is done and on Drive, give the machine back to Colab.
    """

    session: str
    photos: str = ""
    base_model: str = ""
    family: str = ""
    resolution_px: int = 0
    root: str = ""
    identifier: str = ""
    class_word: str = ""
    hold_out: int = 0
    preset: Literal["", "an object", "a face", "a style"] = ""
    captions: CaptionOrder = field(default_factory=CaptionOrder)
    settings: dict = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    ckpt: CkptOrder = field(default_factory=CkptOrder)
    pictures: PictureOrder = field(default_factory=PictureOrder)
    fork: bool = False
    disconnect: bool = False


def recipe_with(job: JobFile, recipe: Recipe) -> Recipe:
    """The recipe with the job's words and settings."""
    words = {"identifier": job.identifier or recipe.identifier, "class_word": job.class_word or recipe.class_word}
    method = next(iter(methods_of(job.stages)), recipe.method)
    return recipe.changed(**{**words, "method": method, **flat(job.settings)})


def usual_stages(method: str) -> tuple[str, ...]:
    """What a job does by that method where it names no stages."""
    return (*STAGES_OF[method], SAVE[method])


def methods_of(stages: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The methods that some of the stages belong to, each with those."""
    found = {method: tuple(one for one in usual_stages(method) if one in stages) for method in STAGES_OF}
    return {method: theirs for method, theirs in found.items() if theirs}


def flat(settings: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Nested settings with dots in their names, so that what is not named keeps its value."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{where}{name}.") if isinstance(value, dict) else {where + name: value}
    return found
