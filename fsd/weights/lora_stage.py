"""What the stage that trains a LoRA changes, and where it lies in its checkpoints."""

from __future__ import annotations

from fsd.families import get_family
from fsd.recipe import Recipe

LORA_FILE = "lora/pytorch_lora_weights.safetensors"
"""In Diffusers' form, in fp32, with peft's settings in the header."""


def targets_of(part: str, recipe: Recipe) -> tuple[str, ...]:
    """The layers of a part that the LoRA changes, by the ends of their names; none in text encoders that take none."""
    family = get_family(recipe.family)
    encoder = next((one for one in family.text_encoders if one.part == part), None)
    return encoder.lora_targets if encoder else recipe.lora.targets or family.lora_targets
