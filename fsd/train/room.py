"""Room for a stage of training, asked for before it begins: checkpoints, what is encoded once, samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fsd.data.dataset import TrainingPhoto
from fsd.data.names import photo_files
from fsd.data.session import Session
from fsd.recipe import Recipe
from fsd.runtime.space import Need, need_room, pictures_need
from fsd.weights.parts import read_config
from fsd.weights.sizes import checkpoint_bytes, checkpoint_needs

_FLOAT_BYTES = 4
_SAMPLES = 4
"""Pictures of a checkpoint where the recipe names no prompts."""


def need_stage_room(
    session: Session, recipe: Recipe, stage: str, parts: dict[str, Path], photos: Sequence[TrainingPhoto]
) -> None:
    """MachineError listing all that the stage will write, with sizes, unless its disks have room for it.

    parts: the folders of the networks. photos: instance and class images.
    """
    need_room(stage_needs(session, recipe, stage, parts, len(photos), len({photo.prompt for photo in photos})))


def class_images_need(session: Session, recipe: Recipe) -> Need:
    """Room for the class images that the recipe's number lacks."""
    there = len(photo_files(session.class_images) + photo_files(session.concept_images))
    missing = max(0, recipe.prior.images - there)
    return pictures_need("class images", session.class_images, missing, recipe.resolution_px, recipe.resolution_px)


def stage_needs(
    session: Session, recipe: Recipe, stage: str, parts: dict[str, Path], photos: int, prompts: int
) -> list[Need]:
    """What a stage will write, with sizes. photos: how many, class images too. prompts: how many different ones."""
    extra = (parts["unet"],) if stage == "text_encoder" and recipe.text_encoder.unet == "joint" else ()
    one_bytes = checkpoint_bytes(parts[stage], recipe.optimizer, extra)
    needs = checkpoint_needs(session.checkpoints, stage, one_bytes, recipe.save.keep)
    needs.append(Need("latents", session.cache, _latents_bytes(parts["vae"], recipe.resolution_px, photos)))
    if stage == "unet":
        needs.append(Need("embeddings", session.cache, _embeddings_bytes(parts["text_encoder"], prompts)))
    times = _sample_times(recipe, getattr(recipe, stage).steps)
    count = 2 * (len(recipe.samples.prompts) or _SAMPLES) * times  # each is in its grid, too
    needs.append(pictures_need("samples", session.samples, count, recipe.resolution_px, recipe.resolution_px))
    return needs


def _latents_bytes(vae: Path, resolution_px: int, photos: int) -> int:
    """Mean and deviation of each photo."""
    config = read_config(vae)
    side = resolution_px // 2 ** (len(config["block_out_channels"]) - 1)
    return photos * 2 * int(config["latent_channels"]) * side * side * _FLOAT_BYTES


def _embeddings_bytes(text_encoder: Path, prompts: int) -> int:
    config = read_config(text_encoder)
    config = config.get("text_config", config)
    return prompts * int(config.get("max_position_embeddings", 77)) * int(config["hidden_size"]) * _FLOAT_BYTES


def _sample_times(recipe: Recipe, steps: int) -> int:
    every = recipe.samples.every_steps
    return (steps // every if every else 0) + recipe.samples.at_end
