"""What both stages do before the loop: read the session, encode the photos, find where to go on from."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import CLIPTokenizer

from fsd.data.dataset import TrainingPhoto, class_photos, inputs_fingerprint, training_photos
from fsd.data.lock import need_turn, writing
from fsd.data.session import Session, open_session_folder
from fsd.errors import FsdError, Interrupted, RecipeError
from fsd.recipe import Recipe
from fsd.runtime import process, report
from fsd.runtime.spool.local_first import brought, working
from fsd.runtime.spool.spool import Spool
from fsd.train import loop
from fsd.train.batch import Batches
from fsd.train.device import choose_precision, make_accelerator
from fsd.train.latents import encode_photos
from fsd.train.metrics import Metrics, draw_loss
from fsd.train.noise import load_schedule
from fsd.train.optimizer import choose_optimizer
from fsd.train.room import need_stage_room
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.base_model import find_base_model
from fsd.weights.checkpoint import STAGES, Checkpoint, newest_checkpoint
from fsd.weights.model import base_parts, stage_checkpoint
from fsd.weights.set_aside import taking_turn

_HASHED = {"photos and captions", "base model", "trained text encoder"}
"""Facts of a run that are fingerprints, which say nothing to people."""


@dataclass(frozen=True)
class Origin:
    """Where a stage starts from, as found on the disk.

    parts: the base model's folders, with stage 1's text encoder in stage 2. photos, priors: instance and class images.
    facts: what tells this run from another. start: the checkpoint to go on from, or None.
    """

    session: Session
    recipe: Recipe
    parts: dict[str, Path]
    photos: list[TrainingPhoto]
    priors: list[TrainingPhoto]
    facts: dict[str, Any]
    start: Checkpoint | None

    def folder(self, part: str) -> Path:
        """The folder to load a part from: the checkpoint to go on from, where it holds the part, else the base model."""
        if self.start and (self.start.folder / part).is_dir():
            return self.start.folder / part
        return self.parts[part]


@dataclass(frozen=True)
class Prepared:
    """A stage ready to load its networks. photos: instance images, then class images, in the order of batches' rows."""

    origin: Origin
    photos: list[TrainingPhoto]
    accelerator: Accelerator
    batches: Batches
    run: loop.Run

    @property
    def prompts(self) -> list[str]:
        """Each training photo's prompt."""
        return [photo.prompt for photo in self.photos]

    def tokenizer(self) -> CLIPTokenizer:
        return CLIPTokenizer.from_pretrained(self.origin.parts["tokenizer"])


def run_stage(arguments: list[str], stage: str, build: Any) -> dict[str, Any]:
    """Train a session's stage: the main function of both stage processes. arguments: SESSION_FOLDER [--fork].

    build(prepared) loads the networks and returns the `loop.Stage`.
    """
    session = open_session_folder(Path(arguments[0]))
    with writing(session), taking_turn(session.folder) as spool:
        origin = _origin(session, stage, fork="--fork" in arguments)
        steps = getattr(origin.recipe, stage).steps
        if origin.start and origin.start.step >= steps:
            report.say(f"{STAGES[stage]}: all {steps} steps are done already")
            return {"stage": stage, "steps": steps, "from_step": steps, "loss": None}
        prepared = _prepare(origin, stage, spool)
        figures = loop.train(build(prepared), prepared.run, origin.start)
        draw_loss(prepared.run.metrics.path, working(session.logs) / "loss.png")
        spool.add("logs/loss.png")
    return figures


def _origin(session: Session, stage: str, fork: bool) -> Origin:
    recipe = session.recipe().checked()
    photos, priors = training_photos(session), class_photos(session)[: recipe.prior.images]
    base = find_base_model(recipe.base_model or recipe.family)
    parts = base_parts(base)
    identity = _identity(session, recipe, stage, base)
    if stage == "unet" and (first := stage_checkpoint(base, session.checkpoints, recipe, "text_encoder", report.say)):
        parts["text_encoder"] = first.folder / "text_encoder"
        identity["trained text encoder"] = base_fingerprint(first.folder)
    facts = {"run": identity, "machine": _machine()}
    start = newest_checkpoint(session.checkpoints, stage, report.say)
    if start:
        _check_same_run(start, facts, fork)
        report.say(f"going on from {start.name}")
    facts["chosen"] = _chosen(recipe, start.facts.get("chosen", {}) if start and not fork else {})
    return Origin(session, recipe.changed(**facts["chosen"]), parts, photos, priors, facts, start)


def _prepare(origin: Origin, stage: str, spool: Spool) -> Prepared:
    session, recipe, parts = origin.session, origin.recipe, origin.parts
    photos = [*origin.photos, *origin.priors]
    need_stage_room(session, recipe, stage, parts, photos)
    accelerator = make_accelerator(recipe)
    latents = encode_photos(photos, parts["vae"], recipe.resolution_px, session.cache, accelerator.device)
    batches = Batches(stage, recipe, photos, len(origin.photos), latents, load_schedule(parts["scheduler"]))
    session.logs.mkdir(exist_ok=True)
    metrics = Metrics(brought(session.logs / "metrics.jsonl"))

    def saved(checkpoint: Checkpoint) -> None:
        spool.add(f"checkpoints/{checkpoint.name}", keep=recipe.save.keep)
        spool.add("logs/metrics.jsonl")
        need_turn()

    def sample(checkpoint: str) -> None:
        draw_loss(metrics.path, working(session.logs) / "loss.png")
        spool.add("logs/loss.png")
        try:
            process.run_stage("fsd.generate.sample", str(session.folder), "--training-samples", checkpoint)
        except Interrupted:
            raise
        except FsdError as fault:
            report.say(f"no samples of {checkpoint}, training goes on: {fault}")

    run = loop.Run(recipe, accelerator, working(session.checkpoints), metrics, origin.facts, saved, sample)
    return Prepared(origin, photos, accelerator, batches, run)


def _identity(session: Session, recipe: Recipe, stage: str, base: Path) -> dict[str, Any]:
    """What the stage's final weights depend on, flat: settings, photos and captions, base model."""
    settings = recipe.identity()
    settings.pop("base_model")
    settings.pop("unet" if stage == "text_encoder" else "text_encoder")
    hashes = {"photos and captions": inputs_fingerprint(session), "base model": base_fingerprint(base)}
    return _flat(settings) | hashes


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted names, as JSON gives them back."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, dict)
        flat |= {f"{name}.{inner}": item for inner, item in value.items()} if nested else {name: value}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}


def _chosen(recipe: Recipe, then: dict[str, str]) -> dict[str, str]:
    """What "auto" means in this run: what it meant when the run began, else what suits this machine."""
    now = {
        "optimizer": choose_optimizer(recipe.optimizer, torch.cuda.is_available()),
        "precision": choose_precision(recipe.precision),
    }
    return {name: then.get(name, kind) if getattr(recipe, name) == "auto" else kind for name, kind in now.items()}


def _check_same_run(start: Checkpoint, facts: dict[str, Any], fork: bool) -> None:
    """Refuse to go on under other settings, which would give other weights, unless asked to fork."""
    then, now = start.facts["run"], facts["run"]
    usual = _flat(Recipe().identity())  # for settings that are younger than the checkpoint
    then = {name: then.get(name, usual.get(name)) for name in then.keys() | now.keys()}
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


def _machine() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return {"device": device, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
