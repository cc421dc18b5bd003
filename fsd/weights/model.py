"""A trained model: the base model's folder, with parts taken from the session's checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fsd.errors import WeightsError
from fsd.weights.base_model import PARTS
from fsd.weights.checkpoint import STAGES, newest_checkpoint, verify_checkpoint


def base_parts(base: Path) -> dict[str, Path]:
    """The folder of each part of a base model that `find_base_model` gave."""
    return {part: base / part for part in PARTS}


def model_parts(base: Path, checkpoints: Path, say: Callable[[str], None], checkpoint: str = "") -> dict[str, Path]:
    """The folder of each part of the trained model: the newest whole checkpoint of each stage over the base model.

    checkpoint: the name of one ("unet-000500") to take instead of its stage's newest; "base" takes none at all.
    """
    parts = base_parts(base)
    if checkpoint == "base":
        return parts
    chosen = {stage: newest_checkpoint(checkpoints, stage, say) for stage in STAGES}
    if checkpoint:
        if not (checkpoints / checkpoint).is_dir():
            known = sorted(folder.name for folder in checkpoints.glob("*-*") if folder.is_dir())
            raise WeightsError(
                f"there is no checkpoint {checkpoint!r} in {checkpoints}", f"choose one of: base, {', '.join(known)}"
            )
        picked = verify_checkpoint(checkpoints / checkpoint)
        chosen[picked.stage] = picked
    return parts | {stage: found.folder / stage for stage, found in chosen.items() if found}
