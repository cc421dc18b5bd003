"""The settings of a run: frozen, with units, every fault reported at once, JSON in and out.

`recipe.json` in a session is both the interface to the training processes and the record of what was done.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fsd.errors import RecipeError
from fsd.families import FAMILIES
from fsd.families.rules import resolution_faults, training_fault
from fsd.settings import FREE, build, type_faults, without_free


@dataclass(frozen=True)
class TextEncoderStage:
    """Stage 1. unet: "frozen" trains the text encoder alone; "joint" trains the UNet with it and throws that away."""

    steps: int = 350
    learning_rate: float = 1e-6
    unet: Literal["frozen", "joint"] = "frozen"


@dataclass(frozen=True)
class UNetStage:
    """Stage 2: the UNet, with the text encoder of stage 1 frozen."""

    steps: int = 1500
    learning_rate: float = 2e-6


@dataclass(frozen=True)
class Prior:
    """Prior preservation (Ruiz et al. 2022, section 3.2). images: 0 turns it off. weight: of the class images' loss.

    prompts: what the class images are made from; empty means the class prompt alone. They are used in turn.
    """

    images: int = 0
    weight: float = 1.0
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Save:
    """When the state is saved: every `every_steps` steps from step `from_step` on; `keep` checkpoints a stage stay."""

    every_steps: int = field(default=500, metadata=FREE)
    from_step: int = field(default=0, metadata=FREE)
    keep: int = field(default=2, metadata=FREE)


@dataclass(frozen=True)
class Samples:
    """Pictures made while training: every `every_steps` steps (0: none) and at a stage's end, from `prompts`.

    prompts: empty means the instance prompt.
    """

    every_steps: int = field(default=0, metadata=FREE)
    at_end: bool = field(default=True, metadata=FREE)
    prompts: tuple[str, ...] = field(default=(), metadata=FREE)
    seed: int = field(default=0, metadata=FREE)


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on.

    identifier, class_word: how prompts name the subject ("sks", "dog"); digits are kept.
    caption_template: the prompt of a photo without a caption file; may use {identifier} and {class}.
    offset_noise: standard deviation of the per-channel mean added to the noise (0: off).
    max_grad_norm: gradient clipping by global norm (0: off, and each weight is stepped during the backward pass).
    repeatable: on a GPU, use only operations that give the same bits when a run is done again.
    seed: with stage, step and slot it fixes order, timesteps and noise.
    force: take a resolution that the family was not made for.
    """

    family: str = "sd15"
    base_model: str = ""
    identifier: str = "sks"
    class_word: str = ""
    caption_template: str = "photo of {identifier} {class}"
    resolution_px: int = 512
    batch_size: int = 1
    text_encoder: TextEncoderStage = field(default_factory=TextEncoderStage)
    unet: UNetStage = field(default_factory=UNetStage)
    prior: Prior = field(default_factory=Prior)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup_steps: int = 0
    optimizer: Literal["auto", "adamw", "adamw8bit"] = "auto"
    weight_decay: float = 1e-2
    max_grad_norm: float = 0.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    gradient_checkpointing: bool = False
    repeatable: bool = field(default=True, metadata=FREE)
    offset_noise: float = 0.0
    seed: int = 0
    save: Save = field(default_factory=Save)
    samples: Samples = field(default_factory=Samples)
    force: bool = field(default=False, metadata=FREE)

    def faults(self) -> list[str]:
        """Everything wrong with these settings, a sentence each; empty when they can be used."""
        return type_faults(self) or _value_faults(self)

    def checked(self) -> Recipe:
        """This recipe; RecipeError naming every fault at once if it cannot be used."""
        if faults := self.faults():
            raise RecipeError("these settings cannot be used: " + "; ".join(faults), "change them and run again")
        return self

    def prompt(self, template: str = "") -> str:
        """The template (default: `caption_template`) with the identifier and the class word filled in."""
        text = (template or self.caption_template).replace("{identifier}", self.identifier)
        return " ".join(text.replace("{class}", self.class_word).split())

    @property
    def class_prompt(self) -> str:
        """The prompt of the class images: the caption template without the identifier."""
        return replace(self, identifier="").prompt()

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON values; `from_json` reads it back."""
        return json.loads(json.dumps(asdict(self)))

    @staticmethod
    def from_json(record: dict[str, Any]) -> Recipe:
        """The recipe in `record`; missing settings take their defaults, unknown ones are a RecipeError."""
        return build(Recipe, record)

    def changed(self, **settings: Any) -> Recipe:
        """A copy with settings replaced; a dot or a double underscore reaches inside: `changed(unet__steps=200)`."""
        record = self.to_json()
        for name, value in settings.items():
            *path, last = name.replace("__", ".").split(".")
            inner = record
            for part in path:
                inner = inner.setdefault(part, {})
                if not isinstance(inner, dict):
                    raise RecipeError(f"there is no setting {name!r}", f"{part} holds no settings of its own")
            inner[last] = list(value) if isinstance(value, tuple) else value
        return Recipe.from_json(record)

    def identity(self) -> dict[str, Any]:
        """The settings that the final weights depend on; runs of one identity are interchangeable."""
        return without_free(self)

    def fingerprint(self) -> str:
        """SHA-256 of `identity()`, shortened to 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:16]


def load_recipe(path: Path) -> Recipe:
    """The recipe in a JSON file; RecipeError if there is none, or its settings are unknown or of a wrong type."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe at {path}", "open the session first") from None
    except (ValueError, OSError) as fault:
        raise RecipeError(f"{path} cannot be read as JSON: {fault}", "mend or delete the file") from None
    if not isinstance(record, dict):
        raise RecipeError(f"{path} holds no settings", "mend or delete the file")
    recipe = Recipe.from_json(record)
    if faults := type_faults(recipe):
        raise RecipeError(f"{path} cannot be used: {'; '.join(faults)}", "mend or delete the file")
    return recipe


def _value_faults(recipe: Recipe) -> list[str]:
    found = []

    def need(good: bool, fault: str) -> None:
        if not good:
            found.append(fault)

    for name, stage in (("text_encoder", recipe.text_encoder), ("unet", recipe.unet)):
        need(0 <= stage.steps <= 1_000_000, f"{name}.steps is {stage.steps}, not 0 to 1000000")
        need(0 < stage.learning_rate < 1, f"{name}.learning_rate is {stage.learning_rate}, not above 0 and below 1")
    need(1 <= recipe.batch_size <= 256, f"batch_size is {recipe.batch_size}, not 1 to 256")
    need(recipe.warmup_steps >= 0, f"warmup_steps is {recipe.warmup_steps}, below 0")
    need(recipe.weight_decay >= 0, f"weight_decay is {recipe.weight_decay}, below 0")
    need(recipe.max_grad_norm >= 0, f"max_grad_norm is {recipe.max_grad_norm}, below 0")
    need(0 <= recipe.offset_noise <= 1, f"offset_noise is {recipe.offset_noise}, not 0 to 1")
    need(0 <= recipe.seed < 2**63, f"seed is {recipe.seed}, not 0 to 2^63-1")
    need(recipe.prior.images >= 0, f"prior.images is {recipe.prior.images}, below 0")
    need(recipe.prior.weight >= 0, f"prior.weight is {recipe.prior.weight}, below 0")
    need(recipe.save.every_steps >= 1, f"save.every_steps is {recipe.save.every_steps}, below 1")
    need(recipe.save.from_step >= 0, f"save.from_step is {recipe.save.from_step}, below 0")
    need(recipe.save.keep >= 2, f"save.keep is {recipe.save.keep}, below 2 (one to go on from and one in reserve)")
    need(recipe.samples.every_steps >= 0, f"samples.every_steps is {recipe.samples.every_steps}, below 0")
    need(bool(recipe.identifier.strip()), "identifier is empty")
    need(
        "{identifier}" in recipe.caption_template, f"caption_template {recipe.caption_template!r} has no {{identifier}}"
    )
    need(not recipe.prior.images or bool(recipe.class_word), "prior.images is set but class_word is empty")
    if recipe.family not in FAMILIES:
        return [*found, f"family is {recipe.family!r}, not one of {', '.join(FAMILIES)}"]
    family = FAMILIES[recipe.family]
    impossible = training_fault(family)
    need(not impossible, impossible)
    return found + resolution_faults(family, recipe.resolution_px, recipe.force)
