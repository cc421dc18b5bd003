"""Room for a stage of training, asked for before it begins: checkpoints, what is encoded once, samples. Loads no torch."""

from __future__ import annotations

import math
from pathlib import Path

from fsd.data.names import photo_files
from fsd.data.session import Session
from fsd.families import get_family
from fsd.recipe import Recipe
from fsd.runtime.space import Need, pictures_need
from fsd.weights.backbone import backbone_part, kind_of_model, prompt_shapes, text_parts
from fsd.weights.lora_stage import targets_of
from fsd.weights.parts import read_config
from fsd.weights.sizes import checkpoint_bytes, checkpoint_needs, lora_parameters, parameters

_FLOAT_BYTES = 4
_SAMPLES = 4
"""Pictures of a checkpoint where the recipe names no prompts."""


def class_images_need(session: Session, recipe: Recipe) -> Need:
    """Room for the class images that the recipe's number lacks."""
    there = len(photo_files(session.class_images) + photo_files(session.concept_images))
    missing = max(0, recipe.prior.images - there)
    return pictures_need("class images", session.class_images, missing, recipe.resolution_px, recipe.resolution_px)


def stage_needs(
    session: Session, recipe: Recipe, stage: str, base: Path, views: int = 0, prompts: int = 0, photos: int = 0
) -> list[Need]:
    """What a stage will write, with sizes. base: the base model's folder.

    views: how many pictures are encoded. prompts: how many different ones there are. Where neither is known yet, photos:
    how many the session has.
    """
    views = views or photos * (1 + recipe.augment.copies) + recipe.prior.images
    prompts = prompts or photos * (1 + recipe.captions.shuffles) + recipe.prior.images
    one_bytes = checkpoint_bytes(trained_numbers(recipe, stage, base), recipe.optimizer, bool(recipe.ema_decay))
    needs = checkpoint_needs(session.checkpoints, stage, one_bytes, recipe.save.keep)
    needs.append(Need("latents", session.cache, views * _latents_bytes(base / "vae", recipe)))
    if not _trains_text(recipe, stage):
        needs.append(Need("embeddings", session.cache, prompts * _embedding_bytes(recipe, base)))
    times = _sample_times(recipe, getattr(recipe, stage).steps)
    count = 2 * (len(recipe.samples.prompts) or _SAMPLES) * times  # each is in its grid, too
    needs.append(pictures_need("samples", session.samples, count, recipe.resolution_px, recipe.resolution_px))
    return needs


def _trains_text(recipe: Recipe, stage: str) -> bool:
    return stage == "text_encoder" or (stage == "lora" and recipe.lora.text_encoders)


def trained_numbers(recipe: Recipe, stage: str, base: Path) -> int:
    """How many numbers the stage's checkpoints hold."""
    texts, backbone = text_parts(base), backbone_part(base)
    if stage == "lora":
        changed = {part: targets_of(part, recipe) for part in [backbone, *(texts if recipe.lora.text_encoders else [])]}
        return sum(lora_parameters(base / part, ends, recipe.lora.rank) for part, ends in changed.items() if ends)
    joint = [backbone] if recipe.text_encoder.unet == "joint" else []
    return sum(parameters(base / part) for part in ([*texts, *joint] if stage == "text_encoder" else [backbone]))


def _latents_bytes(vae: Path, recipe: Recipe) -> int:
    """Mean and deviation of a picture, and its mask; in a bucket it has no more places."""
    config = read_config(vae)
    side = recipe.resolution_px // 2 ** (len(config["block_out_channels"]) - 1)
    masked = recipe.mask.of != "none"
    return (2 * int(config["latent_channels"]) + masked) * side * side * _FLOAT_BYTES


def _embedding_bytes(recipe: Recipe, base: Path) -> int:
    config, encoders = read_config(base / backbone_part(base)), get_family(recipe.family).text_encoders
    return (
        sum(math.prod(shape) for shape in prompt_shapes(kind_of_model(base), config, encoders).values()) * _FLOAT_BYTES
    )


def _sample_times(recipe: Recipe, steps: int) -> int:
    every = recipe.samples.every_steps
    return (steps // every if every else 0) + recipe.samples.at_end
