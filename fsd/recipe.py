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
from fsd.recipe_faults import value_faults
from fsd.recipe_groups import (
    Augment,
    CaptionerStage,
    Captions,
    LoraStage,
    Mask,
    Prior,
    Samples,
    Save,
    TextEncoderStage,
    UNetStage,
    Validation,
)
from fsd.settings import FREE, build, type_faults, without_free

STAGES = {"text_encoder": "text encoder", "unet": "UNet", "lora": "LoRA"}
"""The stages that make a model, with their names for people."""
TITLES = STAGES | {"captioner": "captioner"}
"""All that the loop trains, the captioner's own words too."""
STAGES_OF = {"full": ("text_encoder", "unet"), "lora": ("lora",)}
"""The stages of each method, in their order."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on.

    identifier, class_word: how prompts name the subject ("sks", "dog"); digits are kept.
    caption_template: the prompt of a photo without a caption file; may use {identifier} and {class}.
    preset: what steps and learning rates were computed for, from the number of photos.
    method: "full" trains text encoder and backbone whole, in two stages; "lora" trains a LoRA in one.
    gradient_accumulation: batches a step.
    offset_noise: standard deviation of the per-channel mean added to the noise (0: off). multires_noise: strength of
    noise of larger scale (0: off). min_snr_gamma: weighs easy timesteps less (Hang et al. 2023; 5 is usual, 0: off).
    zero_terminal_snr: let the last timestep be noise alone (Lin et al. 2023). flow_shift: of families that predict a
    flow, how much more of the steps are near noise (0: the model's own).
    ema_decay: of a moving average that takes the weights' place at the end (0: off).
    buckets: train on pictures of the photos' own aspect ratio, of as many pixels, instead of squares.
    max_grad_norm: gradient clipping by global norm (0: off, and each weight is stepped during the backward pass).
    compile: have PyTorch compile the backbone's repeated blocks; "auto" does so on GPUs of compute capability 8 or newer in
    runs that are long enough for it to pay. A run goes on without where it fails.
    repeatable: on a GPU, use only operations that give the same bits when a run is done again.
    tensorboard: also write the figures to logs/tensorboard/.
    seed: with stage, step and slot it fixes order, timesteps and noise.
    force: take a resolution that the family was not made for.
    """

    family: str = "sd15"
    base_model: str = ""
    identifier: str = "sks"
    class_word: str = ""
    caption_template: str = "photo of {identifier} {class}"
    preset: Literal["an object", "a face", "a style"] = field(default="an object", metadata=FREE)
    resolution_px: int = 512
    method: Literal["full", "lora"] = "full"
    batch_size: int = 1
    gradient_accumulation: int = 1
    text_encoder: TextEncoderStage = field(default_factory=TextEncoderStage)
    unet: UNetStage = field(default_factory=UNetStage)
    lora: LoraStage = field(default_factory=LoraStage)
    captioner: CaptionerStage = field(default_factory=CaptionerStage)
    prior: Prior = field(default_factory=Prior)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup_steps: int = 0
    optimizer: Literal["auto", "adamw", "adamw8bit", "adafactor", "prodigy", "lion", "lion8bit"] = "auto"
    weight_decay: float = 1e-2
    max_grad_norm: float = 0.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    gradient_checkpointing: bool = False
    compile: Literal["auto", "off", "on"] = "auto"
    repeatable: bool = field(default=True, metadata=FREE)
    offset_noise: float = 0.0
    multires_noise: float = 0.0
    min_snr_gamma: float = 0.0
    zero_terminal_snr: bool = False
    flow_shift: float = 0.0
    ema_decay: float = 0.0
    augment: Augment = field(default_factory=Augment)
    captions: Captions = field(default_factory=Captions)
    mask: Mask = field(default_factory=Mask)
    buckets: bool = False
    seed: int = 0
    save: Save = field(default_factory=Save)
    samples: Samples = field(default_factory=Samples)
    validation: Validation = field(default_factory=Validation)
    tensorboard: bool = field(default=False, metadata=FREE)
    force: bool = field(default=False, metadata=FREE)

    def faults(self) -> list[str]:
        """Everything wrong with these settings, a sentence each; empty when they can be used."""
        return type_faults(self) or value_faults(self)

    def checked(self) -> Recipe:
        """This recipe; RecipeError naming every fault at once if it cannot be used."""
        if faults := self.faults():
            raise RecipeError("these settings cannot be used: " + "; ".join(faults), "change them and run again")
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of the method, in their order."""
        return STAGES_OF[self.method]

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

    def value(self, name: str) -> Any:
        """A setting by its dotted name: `value("unet.steps")`."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part)
        return found

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
