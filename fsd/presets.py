"""Settings computed from the photos, with the numbers that users converge on."""

from __future__ import annotations

from fsd.recipe import Recipe

_ORIGINAL_PHOTOS = 15
"""The original suite's defaults are what its users take for about so many photos."""


def steps_for(photos: int) -> tuple[int, int]:
    """(text-encoder steps, UNet steps) for a number of photos: 100 UNet steps a photo, 350 to 1500 as the original.

    The UNet's share stays between 500 and 3000 steps.
    """
    unet = min(3000, max(500, 100 * photos))
    return round(unet * 350 / 1500), unet


def with_preset_steps(recipe: Recipe, photos_before: int, photos_now: int) -> Recipe:
    """The recipe with steps for the number of photos, unless the user has set other steps."""
    set_now = (recipe.text_encoder.steps, recipe.unet.steps)
    if set_now not in (steps_for(photos_before), steps_for(_ORIGINAL_PHOTOS)):
        return recipe
    first, second = steps_for(photos_now)
    return recipe.changed(text_encoder__steps=first, unet__steps=second)
