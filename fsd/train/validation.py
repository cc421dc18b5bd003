"""What the validation loss is measured on: photos at fixed timesteps with fixed noise, the same from step to step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fsd.recipe import Recipe
from fsd.train.batch import Batch, Example
from fsd.train.latents import Latents
from fsd.train.noise import NoiseSchedule, draw_noise
from fsd.train.randomness import generator


def validation_batches(
    examples: Sequence[Example], recipe: Recipe, latents: Latents, schedule: NoiseSchedule, device: torch.device
) -> list[Batch]:
    """A batch of one row for each photo and draw; the timesteps of a photo's draws are evenly spread."""
    draws = range(recipe.validation.draws)
    return [
        _batch(example, (draw + 0.5) / len(draws), (number, draw), recipe, latents, schedule, device)
        for number, example in enumerate(examples)
        for draw in draws
    ]


def _batch(
    example: Example, share: float, row: tuple[int, int], recipe: Recipe, latents: Latents, schedule: NoiseSchedule,
    device: torch.device,
) -> Batch:  # fmt: skip
    x0 = latents.mean[example.views[0]][None]
    random = generator(recipe.seed, "validation", *row)
    eps, t = draw_noise(tuple(x0.shape[1:]), 0.0, random)[None], schedule.at(share)[None]
    return Batch(
        [example.prompts[0]], schedule.add_noise(x0, eps, t).to(device), schedule.target(x0, eps, t).to(device),
        t.to(device), torch.ones(1, device=device), random.initial_seed(),
    )  # fmt: skip
