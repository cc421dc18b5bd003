"""What tells one run from another: a checkpoint goes on under the settings and photos it was begun with, or says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsd.data.dataset import inputs_fingerprint
from fsd.data.session import Session
from fsd.errors import RecipeError
from fsd.recipe import STAGES, Recipe
from fsd.runtime import report
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.checkpoint import Checkpoint
from fsd.weights.model import stage_checkpoint

_HASHED = {"photos and captions", "base model", "trained text encoder"}
"""Facts of a run that are fingerprints, which say nothing to people."""

ALONE = {"processes": 1, "sharded": False}
"""What a run that one process does says of its processes, which is nothing."""


def stage_before(
    session: Session, recipe: Recipe, stage: str, base: Path, say: Callable[[str], None]
) -> Checkpoint | None:
    """The trained text encoders that the UNet's stage goes on from, None where there are none."""
    return stage_checkpoint(base, session.checkpoints, recipe, "text_encoder", say) if stage == "unet" else None


def identity_of(session: Session, recipe: Recipe, stage: str, base: Path, before: Checkpoint | None) -> dict[str, Any]:
    """What the stage's final weights depend on, flat: settings, photos and captions, base model, `stage_before`."""
    settings = recipe.identity()
    settings.pop("base_model")
    for other in STAGES.keys() - {stage}:
        settings.pop(other)
    hashes = {"photos and captions": inputs_fingerprint(session), "base model": base_fingerprint(base)}
    hashes |= {"trained text encoder": base_fingerprint(before.folder)} if before else {}
    return _flat(settings) | hashes


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted names, as JSON gives them back."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            flat[name] = value
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}


def check_same_run(start: Checkpoint, facts: dict[str, Any], fork: bool) -> None:
    """Refuse to go on under other settings, which would give other weights, unless asked to fork."""
    then, now = start.facts["run"], facts["run"]
    usual = _flat(Recipe().identity()) | ALONE  # for settings that are younger than the checkpoint
    then = {name: then.get(name, usual.get(name)) for name in then.keys() | now.keys()}
    now = {name: now.get(name, usual.get(name)) for name in then}
    changed = sorted(name for name in then if then[name] != now.get(name))
    if changed and not fork:
        listed = "; ".join(
            f"the {name} changed" if name in _HASHED else f"{name} was {then[name]!r}, is {now.get(name)!r}"
            for name in changed
        )
        pairs = " ".join(f"{name}={then[name]}" for name in changed if name not in _HASHED)
        back = f"set them back with change_settings ({pairs})" if pairs else "set them back"
        raise RecipeError(
            f"{start.name} is from a run with other settings: {listed}",
            f"{back}, use a new session, or fork to go on from it all the same",
        )
    if changed:
        report.say(f"forked from {start.name}: {', '.join(changed)} changed")
        facts["forked_from"] = {"checkpoint": start.name, "changed": changed}
    if start.facts["machine"] != facts["machine"]:
        report.say(f"{start.name} is from another machine ({start.facts['machine']}): bits may differ from here on")
