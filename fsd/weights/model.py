"""A trained model: the base model's folder, with parts taken from the session's checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fsd.errors import WeightsError
from fsd.recipe import STAGES, Recipe
from fsd.weights.base_folder import ALL_PARTS, base_fingerprint
from fsd.weights.checkpoint import Checkpoint, list_checkpoints, named_checkpoint, newest_checkpoint
from fsd.weights.lora_stage import LORA_FILE

MARK = "fsd.model"
"""The metadata of a CKPT that holds its model's mark."""


@dataclass(frozen=True)
class TrainedModel:
    """base: the base model's folder. used: by stage, the checkpoints whose parts take the base model's place."""

    base: Path
    used: dict[str, Checkpoint]

    @property
    def lora(self) -> Path | None:
        """The file of the LoRA, None without one."""
        return self.used["lora"].folder / LORA_FILE if "lora" in self.used else None

    @property
    def parts(self) -> dict[str, Path]:
        """The folder of each part."""
        trained = [found.parts() for found in self.used.values()]
        return base_parts(self.base) | {part: folder for parts in trained for part, folder in parts.items()}

    @property
    def mark(self) -> str:
        """What tells it from every other: a SHA-256 over its base model's and its checkpoints' weights."""
        weights = [(found.name, found.weights_sha256) for found in self.used.values()]
        return hashlib.sha256(json.dumps([base_fingerprint(self.base), weights]).encode()).hexdigest()

    def as_text(self, recipe: Recipe) -> str:
        """What it is made of, for people: "text encoder: base; UNet: unet-000500 of 1500 steps"."""

        stages = [(stage, STAGES[stage]) for stage in recipe.stages]

        def one(stage: str) -> str:
            found = self.used.get(stage)
            if found is None or found.done:
                return found.name if found else "base"
            return f"{found.name} of {getattr(recipe, stage).steps} steps"

        return "; ".join(f"{title}: {one(stage)}" for stage, title in stages)


def base_parts(base: Path) -> dict[str, Path]:
    """The folder of each part of a base model that `find_base_model` gave."""
    return {part: base / part for part in ALL_PARTS if (base / part).is_dir()}


def trained_model(
    base: Path, checkpoints: Path, recipe: Recipe, say: Callable[[str], None], named: str = ""
) -> TrainedModel:
    """The newest whole checkpoint of each stage over the base model; a stage with 0 steps in the recipe has no part in it.

    named: a checkpoint ("unet-000500") to take instead of its stage's newest; "base" takes none at all. Raises
    WeightsError when it is not there, when none of a stage is whole, and when one was trained from another base model.
    """
    if named == "base":
        return TrainedModel(base, {})
    known = [folder.name for stage in recipe.stages for folder in list_checkpoints(checkpoints, stage)]
    if named and named not in known:
        hint = f"choose one of: {', '.join(['base', *known])}"
        raise WeightsError(f"there is no checkpoint {named!r} in {checkpoints}", hint)
    found = {stage: stage_checkpoint(base, checkpoints, recipe, stage, say, named) for stage in recipe.stages}
    return TrainedModel(base, {stage: one for stage, one in found.items() if one})


def stage_checkpoint(
    base: Path, checkpoints: Path, recipe: Recipe, stage: str, say: Callable[[str], None], named: str = ""
) -> Checkpoint | None:
    """The checkpoint that a stage adds to the model in the folder `base`; None where it adds nothing. As `trained_model`."""
    there = list_checkpoints(checkpoints, stage)
    if named in [folder.name for folder in there]:
        found = named_checkpoint(checkpoints, named, say)
    elif there and getattr(recipe, stage).steps:
        found = newest_checkpoint(checkpoints, stage, say)
    else:
        return None
    if found is None:
        hint = "train the stage again; the base model in its place would not be your model"
        raise WeightsError(f"no {STAGES[stage]} checkpoint in {checkpoints} is whole", hint)
    if found.facts.get("run", {}).get("base model") != base_fingerprint(base):
        hint = "choose the base model that it was trained from, or train in a new session"
        raise WeightsError(f"{found.name} was trained from another base model than {base}", hint)
    return found
