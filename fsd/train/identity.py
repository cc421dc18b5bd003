"""What tells one run from another: a checkpoint goes on under the settings and photos it was begun with, or says so."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from fsd.data.dataset import inputs_fingerprint
from fsd.data.session import Session
from fsd.errors import RecipeError
from fsd.recipe import Recipe
from fsd.runtime import report
from fsd.train.compiling import choose_compile
from fsd.train.device import choose_precision
from fsd.train.optimizer import choose_optimizer
from fsd.train.sharding import sharding_wanted
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.checkpoint import STAGES, Checkpoint

_HASHED = {"photos and captions", "base model", "trained text encoder"}
"""Facts of a run that are fingerprints, which say nothing to people."""

ALONE = {"processes": 1, "sharded": False}
"""What a run that one process does says of its processes, which is nothing."""


def identity_of(session: Session, recipe: Recipe, stage: str, base: Path) -> dict[str, Any]:
    """What the stage's final weights depend on, flat: settings, photos and captions, base model."""
    settings = recipe.identity()
    settings.pop("base_model")
    for other in STAGES.keys() - {stage}:
        settings.pop(other)
    hashes = {"photos and captions": inputs_fingerprint(session), "base model": base_fingerprint(base)}
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


def chosen(recipe: Recipe, then: dict[str, str], stage: str, backbone: Path) -> dict[str, str]:
    """What "auto" means in this run: what it meant when the run began, else what suits this machine.

    What could not be compiled then is not compiled now, either. backbone: the folder of its weights.
    """
    now = {
        "optimizer": choose_optimizer(recipe.optimizer, torch.cuda.is_available() and not sharding_wanted()),
        "precision": choose_precision(recipe.precision),
        "compile": choose_compile(recipe, stage, backbone),
    }
    return {name: then.get(name, kind) for name, kind in now.items()}


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
        raise RecipeError(
            f"{start.name} is from a run with other settings: {listed}",
            "set them back, use a new session, or fork to go on from it all the same",
        )
    if changed:
        report.say(f"forked from {start.name}: {', '.join(changed)} changed")
        facts["forked_from"] = {"checkpoint": start.name, "changed": changed}
    if start.facts["machine"] != facts["machine"]:
        report.say(f"{start.name} is from another machine ({start.facts['machine']}): bits may differ from here on")


def machine() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return {"device": device, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
