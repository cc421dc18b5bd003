"""The ways in which a caption is written from step to step: its parts in other orders."""

from __future__ import annotations

import torch

from fsd.recipe import Recipe
from fsd.train.randomness import generator


def ways_to_write(prompt: str, recipe: Recipe, name: str) -> list[str]:
    """The prompt, then the recipe's number of other orders of what its commas part; the first `keep` parts stay.

    Which orders they are depends on the seed and the photo's name alone. Each is there once.
    """
    parts = [part.strip() for part in prompt.split(",")]
    fixed, loose = parts[: recipe.captions.keep], parts[recipe.captions.keep :]
    found = [prompt]
    for number in range(recipe.captions.shuffles if len(loose) > 1 else 0):
        order = torch.randperm(len(loose), generator=generator(recipe.seed, "caption", name, number))
        found.append(", ".join([*fixed, *(loose[at] for at in order)]))
    return list(dict.fromkeys(found))
