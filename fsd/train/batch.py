"""What a step trains on, as a function of (seed, stage, step): which photos, which latents, which noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fsd.data.dataset import TrainingPhoto
from fsd.recipe import Recipe
from fsd.train.latents import Latents
from fsd.train.noise import NoiseSchedule, draw_noise
from fsd.train.randomness import generator, pick


@dataclass(frozen=True)
class Batch:
    """B rows, photos first, then class images. rows: which photo (index into the training set) each row shows.

    noisy, target: (B, C, H/8, W/8) float32. timesteps: (B,) int64. weights: (B,) float32, each row's share in the loss.
    """

    rows: list[int]
    noisy: Tensor
    target: Tensor
    timesteps: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Batches:
    """The batches of one stage. photos: instance images, then class images, in the order of `latents`."""

    stage: str
    recipe: Recipe
    photos: Sequence[TrainingPhoto]
    instance_count: int
    latents: Latents
    schedule: NoiseSchedule

    def at(self, step: int, device: torch.device) -> Batch:
        """The batch of a step (from 0)."""
        rows, weights = self._rows(step)
        drawn = [self._draw(step, slot, row) for slot, row in enumerate(rows)]
        x0, eps = (torch.stack(tensors).to(device) for tensors in list(zip(*drawn, strict=True))[:2])
        t = torch.tensor([timestep for _, _, timestep in drawn], device=device)
        noisy, target = self.schedule.add_noise(x0, eps, t), self.schedule.target(x0, eps, t)
        return Batch(rows, noisy, target, t, torch.tensor(weights, device=device))

    def _rows(self, step: int) -> tuple[list[int], list[float]]:
        size, seed = self.recipe.batch_size, self.recipe.seed
        instance = [pick(self.instance_count, step * size + slot, seed, self.stage, "instance") for slot in range(size)]
        class_count = len(self.photos) - self.instance_count
        if not class_count:
            return instance, [1 / size] * size
        prior = [pick(class_count, step * size + slot, seed, self.stage, "class") for slot in range(size)]
        weights = [1 / size] * size + [self.recipe.prior.weight / size] * size
        return instance + [self.instance_count + index for index in prior], weights

    def _draw(self, step: int, slot: int, row: int) -> tuple[Tensor, Tensor, int]:
        random = generator(self.recipe.seed, self.stage, step, slot)
        x0 = self.latents.sample(row, random)
        eps = draw_noise(tuple(x0.shape), self.recipe.offset_noise, random)
        return x0, eps, int(torch.randint(self.schedule.timesteps, (), generator=random))
