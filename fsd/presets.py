"""Settings computed from what is taught and the number of photos, with the numbers that users converge on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fsd.recipe import Recipe

_ORIGINAL_PHOTOS = 15
"""The original suite's defaults are what its users take for about so many photos."""
_LEAST_STEPS, _MOST_STEPS = 500, 3000


@dataclass(frozen=True)
class Preset:
    """What teaching a kind of subject takes.

    photo_steps: UNet or LoRA steps a photo, of 500 to 3000 in all. text_share: of the text encoder's steps in the UNet's.
    The rates are the highest learning rates of each stage; rank is the LoRA's.
    """

    photo_steps: int
    text_share: float
    text_rate: float
    unet_rate: float
    lora_rate: float
    rank: int


PRESETS = {
    "an object": Preset(100, 350 / 1500, 1e-6, 2e-6, 1e-4, 16),
    "a face": Preset(100, 0.35, 1e-6, 2e-6, 1e-4, 32),
    "a style": Preset(60, 0.15, 1e-6, 1e-6, 1e-4, 32),
}
"""50 to 200 steps a photo, a text encoder's share of 30 to 50 % for faces and rates of 1e-6 to 2e-6 are what users of the
original settle on; a style needs less of each photo and less of its name."""


def settings_for(preset: str, photos: int) -> dict[str, Any]:
    """What the preset sets for so many photos, by dotted names."""
    known = PRESETS[preset]
    steps = min(_MOST_STEPS, max(_LEAST_STEPS, known.photo_steps * photos))
    return {
        "text_encoder.steps": round(steps * known.text_share),
        "text_encoder.learning_rate": known.text_rate,
        "unet.steps": steps,
        "unet.learning_rate": known.unet_rate,
        "lora.steps": steps,
        "lora.learning_rate": known.lora_rate,
        "lora.rank": known.rank,
    }


def with_preset(recipe: Recipe, preset: str, photos_before: int, photos_now: int) -> Recipe:
    """The recipe with what the preset sets for the photos there are now; what the user has set otherwise stays.

    photos_before: how many there were when the recipe's own preset was last used, 0 if it never was.
    """
    then = [settings_for("an object", _ORIGINAL_PHOTOS)]  # which are the defaults
    then += [settings_for(recipe.preset, photos_before)] if photos_before else []
    wanted = settings_for(preset, photos_now)
    ours = {name: value for name, value in wanted.items() if recipe.value(name) in [one[name] for one in then]}
    return recipe.changed(**ours, preset=preset)
