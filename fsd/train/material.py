"""What a stage trains on: views and captions of photos and class images, encoded and ready to be drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from fsd.data.dataset import TrainingPhoto
from fsd.recipe import Recipe
from fsd.train.batch import Batch, Batches, Example
from fsd.train.captions import ways_to_write
from fsd.train.latents import encode_views
from fsd.train.network import LATENT_FACTOR
from fsd.train.noise import load_schedule
from fsd.train.validation import validation_batches
from fsd.train.view import View, views_of


@dataclass(frozen=True)
class Material:
    """What a stage trains on. views: of each picture: photos, class images, those of the validation loss.

    prompts: all there are. photos: an example for each time that an epoch shows a photo. priors, checks: one for each class
    image and picture of the validation loss.
    """

    views: list[list[View]]
    prompts: list[str]
    photos: list[Example]
    priors: list[Example]
    checks: list[Example]


def material_of(
    recipe: Recipe, photos: Sequence[TrainingPhoto], priors: Sequence[TrainingPhoto], checks: Sequence[TrainingPhoto]
) -> Material:
    """All that a stage trains on. priors: class images. checks: what the validation loss is measured on."""
    others = [*priors, *checks]
    pictures, plain = [*photos, *others], recipe.changed(augment__copies=0, mask__of="none")
    views = [views_of(photo, recipe) for photo in photos] + [views_of(photo, plain) for photo in others]
    ways = [ways_to_write(picture.prompt, recipe, picture.path.name) for picture in pictures]
    prompts = sorted({prompt for way in ways for prompt in way} | ({""} if recipe.captions.dropout else set()))
    examples = [
        Example(places, tuple(prompts.index(prompt) for prompt in way))
        for places, way in zip(_places(views), ways, strict=True)
    ]
    count, ours = len(photos), len(photos) + len(priors)
    shown = [one for photo, one in zip(photos, examples, strict=False) for _ in range(photo.repeats)]
    return Material(views, prompts, shown, examples[count:ours], examples[ours:])


def encoded(
    material: Material, stage: str, recipe: Recipe, parts: dict[str, Path], cache: Path, accelerator: Accelerator
) -> tuple[Batches, list[Batch]]:
    """The batches of a stage, and those of its validation loss; all pictures are encoded."""
    views = [one for each in material.views for one in each]
    latents = encode_views(views, parts["vae"], cache, accelerator.device)
    tokens = (recipe.resolution_px // LATENT_FACTOR // 2) ** 2
    schedule = load_schedule(parts["scheduler"], tokens, recipe.flow_shift, recipe.zero_terminal_snr)
    validation = validation_batches(material.checks, recipe, latents, schedule, accelerator.device)
    batches = Batches(
        stage, recipe, material.photos, material.priors, latents, schedule,
        no_prompt=material.prompts.index("") if "" in material.prompts else None,
        process=accelerator.process_index, processes=accelerator.num_processes,
    )  # fmt: skip
    return batches, validation


def _places(groups: Sequence[Sequence[object]]) -> list[tuple[int, ...]]:
    """Where the members of each group are when all of them stand in one row."""
    found, first = [], 0
    for group in groups:
        found.append(tuple(range(first, first + len(group))))
        first += len(group)
    return found
