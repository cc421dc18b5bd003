"""What a step trains on, as a function of (seed, stage, step): which photos, which latents, which noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fsd.recipe import Recipe
from fsd.train.latents import Latents
from fsd.train.noise import NoiseSchedule, draw_noise
from fsd.train.randomness import generator, pick


@dataclass(frozen=True)
class Example:
    """A photo as training sees it. views: its places among the latents. prompts: its places among the prompts.

    A step draws one of each: augmented copies of the photo, and ways to write its caption.
    """

    views: tuple[int, ...]
    prompts: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """B rows of one size. prompts: each row's place among the prompts.

    noisy, target: (B, C, H, W) float32 latents. timesteps: (B,). weights: (B,) float32, each row's share in the loss of
    the step. seed: for whatever else is random about the batch. mask: (B, 1, H, W) float32, how much each place counts.
    """

    prompts: list[int]
    noisy: Tensor
    target: Tensor
    timesteps: Tensor
    weights: Tensor
    seed: int
    mask: Tensor | None = None


@dataclass(frozen=True)
class _Row:
    slot: int
    example: Example
    weight: float


@dataclass(frozen=True)
class Batches:
    """The batches of one stage. photos, priors: the instance and class images. no_prompt: the place of the empty prompt.

    process, processes: which one this is of how many that share each step.
    """

    stage: str
    recipe: Recipe
    photos: Sequence[Example]
    priors: Sequence[Example]
    latents: Latents
    schedule: NoiseSchedule
    no_prompt: int | None = None
    process: int = 0
    processes: int = 1

    def at(self, step: int, device: torch.device) -> list[Batch]:
        """The batches of a step (from 0): `gradient_accumulation` of them, more where their rows differ in size.

        The weights of all add up to 1 for the photos and to the prior's weight for class images.
        """
        return [batch for rows in self._turns(step) for batch in self._by_size(step, rows, device)]

    def _turns(self, step: int) -> Iterator[list[_Row]]:
        """The rows of each turn. A step's slots are dealt to the processes turn by turn, so that two processes of one
        row each do what one process of two rows does."""
        size, turns = self.recipe.batch_size, self.recipe.gradient_accumulation
        all_slots = size * turns * self.processes
        for turn in range(turns):
            first = (turn * self.processes + self.process) * size
            slots = range(first, first + size)
            rows = [_Row(slot, self._pick(self.photos, step * all_slots + slot, "instance"), 1.0) for slot in slots]
            if self.priors:
                weight = self.recipe.prior.weight
                rows += [
                    _Row(all_slots + slot, self._pick(self.priors, step * all_slots + slot, "class"), weight)
                    for slot in slots
                ]
            yield rows

    def _pick(self, examples: Sequence[Example], position: int, kind: str) -> Example:
        return examples[pick(len(examples), position, self.recipe.seed, self.stage, kind)]

    def _by_size(self, step: int, rows: list[_Row], device: torch.device) -> Iterator[Batch]:
        sizes: dict[torch.Size, list[tuple[_Row, int]]] = {}
        for row in rows:
            view = self._one_of(row.example.views, step, row.slot, "view")
            sizes.setdefault(self.latents.size(view), []).append((row, view))
        for alike in sizes.values():
            yield self._batch(step, alike, device)

    def _batch(self, step: int, rows: list[tuple[_Row, int]], device: torch.device) -> Batch:
        drawn = [self._draw(step, row.slot, view) for row, view in rows]
        x0, eps, t = (torch.stack(tensors).to(device) for tensors in zip(*drawn, strict=True))
        share = 1 / (self.recipe.batch_size * self.recipe.gradient_accumulation)
        return Batch(
            [self._prompt(row, step) for row, _ in rows],
            self.schedule.add_noise(x0, eps, t),
            self.schedule.target(x0, eps, t),
            t,
            torch.tensor([row.weight * share for row, _ in rows], device=device) * self._min_snr(t),
            generator(self.recipe.seed, self.stage, step, rows[0][0].slot, "batch").initial_seed(),
            self.latents.masks([view for _, view in rows], device),
        )

    def _prompt(self, row: _Row, step: int) -> int:
        if self.no_prompt is not None and row.example in self.photos:
            random = generator(self.recipe.seed, self.stage, step, row.slot, "dropout")
            if float(torch.rand((), generator=random)) < self.recipe.captions.dropout:
                return self.no_prompt
        return self._one_of(row.example.prompts, step, row.slot, "prompt")

    def _min_snr(self, t: Tensor) -> Tensor | float:
        return self.schedule.weight(t, self.recipe.min_snr_gamma) if self.recipe.min_snr_gamma else 1.0

    def _one_of(self, choices: tuple[int, ...], step: int, slot: int, what: str) -> int:
        if len(choices) == 1:
            return choices[0]
        random = generator(self.recipe.seed, self.stage, step, slot, what)
        return choices[int(torch.randint(len(choices), (), generator=random))]

    def _draw(self, step: int, slot: int, view: int) -> tuple[Tensor, Tensor, Tensor]:
        random = generator(self.recipe.seed, self.stage, step, slot)
        x0 = self.latents.sample(view, random)
        eps = draw_noise(tuple(x0.shape), self.recipe.offset_noise, random, self.recipe.multires_noise)
        return x0, eps, self.schedule.draw(random)
