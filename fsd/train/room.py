"""Room for a stage of training, asked for before it begins: checkpoints, what is encoded once, samples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from fsd.data.session import Session
from fsd.families import get_family
from fsd.recipe import Recipe
from fsd.runtime.space import Need, need_room, pictures_need
from fsd.train.adapter import targets_of
from fsd.train.network import LATENT_FACTOR, backbone_part, network_of
from fsd.train.prompts import text_parts
from fsd.weights.parts import read_config
from fsd.weights.sizes import checkpoint_bytes, checkpoint_needs, lora_parameters, parameters

_FLOAT_BYTES = 4
_SAMPLES = 4
"""Pictures of a checkpoint where the recipe names no prompts."""


def need_stage_room(
    session: Session, recipe: Recipe, stage: str, base: Path, parts: dict[str, Path],
    sizes_px: Iterable[tuple[int, int]], prompts: int,
) -> None:  # fmt: skip
    """MachineError listing all that the stage will write, with sizes, unless its disks have room for it.

    base: the base model's folder. parts: the folders of the networks. sizes_px: (width, height) of each picture that is
    encoded. prompts: how many are.
    """
    one_bytes = checkpoint_bytes(_trained(recipe, stage, base, parts), recipe.optimizer, bool(recipe.ema_decay))
    needs = checkpoint_needs(session.checkpoints, stage, one_bytes, recipe.save.keep)
    needs.append(Need("latents", session.cache, _latents_bytes(parts["vae"], sizes_px)))
    if not _trains_text(recipe, stage):
        needs.append(Need("embeddings", session.cache, prompts * _embedding_bytes(recipe, base)))
    times = _sample_times(recipe, getattr(recipe, stage).steps)
    count = 2 * (len(recipe.samples.prompts) or _SAMPLES) * times  # each is in its grid, too
    needs.append(pictures_need("samples", session.samples, count, recipe.resolution_px, recipe.resolution_px))
    need_room(needs)


def _trains_text(recipe: Recipe, stage: str) -> bool:
    return stage == "text_encoder" or (stage == "lora" and recipe.lora.text_encoders)


def _trained(recipe: Recipe, stage: str, base: Path, parts: dict[str, Path]) -> int:
    """How many numbers the stage's checkpoints hold."""
    texts, backbone = text_parts(base), backbone_part(base)
    if stage == "lora":
        changed = {part: targets_of(part, recipe) for part in [backbone, *(texts if recipe.lora.text_encoders else [])]}
        return sum(lora_parameters(parts[part], ends, recipe.lora.rank) for part, ends in changed.items() if ends)
    if stage == "text_encoder":
        return sum(parameters(parts[part]) for part in [*texts, *_joint(recipe, backbone)])
    return parameters(parts[backbone])


def _joint(recipe: Recipe, backbone: str) -> list[str]:
    return [backbone] if recipe.text_encoder.unet == "joint" else []


def _latents_bytes(vae: Path, sizes_px: Iterable[tuple[int, int]]) -> int:
    """Mean and deviation of each picture."""
    numbers = 2 * int(read_config(vae)["latent_channels"])
    return sum(
        numbers * (width // LATENT_FACTOR) * (height // LATENT_FACTOR) * _FLOAT_BYTES for width, height in sizes_px
    )


def _embedding_bytes(recipe: Recipe, base: Path) -> int:
    reads = network_of(base).reads(read_config(base / backbone_part(base)), get_family(recipe.family).text_encoders)
    return sum(math.prod(shape) for shape in reads.values()) * _FLOAT_BYTES


def _sample_times(recipe: Recipe, steps: int) -> int:
    every = recipe.samples.every_steps
    return (steps // every if every else 0) + recipe.samples.at_end
