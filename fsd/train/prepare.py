"""What both stages do before the loop: read the session, encode the photos, find where to go on from."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from fsd.data.dataset import TrainingPhoto, class_photos, inputs_fingerprint, training_photos
from fsd.data.lock import need_turn
from fsd.data.session import Session, open_session_folder
from fsd.errors import FsdError, RecipeError
from fsd.recipe import Recipe
from fsd.runtime import files, process, report
from fsd.runtime.spool.local_first import brought, working
from fsd.runtime.spool.spool import Spool
from fsd.train import loop
from fsd.train.batch import Batch, Batches, Example
from fsd.train.captions import ways_to_write
from fsd.train.device import choose_precision, compute_dtype, make_accelerator
from fsd.train.latents import encode_views
from fsd.train.metrics import Metrics, draw_loss
from fsd.train.network import LATENT_FACTOR, Conditioning
from fsd.train.noise import load_schedule
from fsd.train.optimizer import choose_optimizer
from fsd.train.prompts import encode_prompts
from fsd.train.room import need_stage_room
from fsd.train.together import processes, writer
from fsd.train.view import View, views_of
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.base_model import find_base_model
from fsd.weights.checkpoint import STAGES, Checkpoint, newest_checkpoint
from fsd.weights.model import base_parts, stage_checkpoint

_HASHED = {"photos and captions", "base model", "trained text encoder"}
"""Facts of a run that are fingerprints, which say nothing to people."""


@dataclass(frozen=True)
class Origin:
    """Where a stage starts from, as found on the disk.

    base: the base model's folder. parts: the folder of each of its parts, with stage 1's text encoders in stage 2.
    photos, priors: instance and class images. facts: what tells this run from another. start: the checkpoint to go on
    from, or None.
    """

    session: Session
    recipe: Recipe
    base: Path
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
    """A stage ready to load its networks. prompts: all that its batches speak of, by their place."""

    origin: Origin
    prompts: list[str]
    accelerator: Accelerator
    batches: Batches
    run: loop.Run

    def batches_at(self, step: int) -> list[Batch]:
        """The batches of a step, on the device."""
        return self.batches.at(step, self.accelerator.device)

    def encoded_prompts(self) -> Conditioning:
        """What the text encoders make of the prompts, on the device; they leave memory again."""
        origin, device = self.origin, self.accelerator.device
        cache, dtype = origin.session.cache, compute_dtype(self.accelerator)
        with self.accelerator.main_process_first():
            given = encode_prompts(self.prompts, origin.base, origin.parts, cache, device, dtype)
        return {name: tensor.to(device) for name, tensor in given.items()}


def run_stage(arguments: list[str], stage: str, build: Any) -> dict[str, Any]:
    """Train a session's stage: the main function of both stage processes. arguments: SESSION_FOLDER [--fork].

    build(prepared) loads the networks and returns the `loop.Stage`.
    """
    session = open_session_folder(Path(arguments[0]))
    with writer(session) as spool:
        with processes().main_process_first():  # who comes later finds all squares there
            origin = _origin(session, stage, fork="--fork" in arguments)
        steps = getattr(origin.recipe, stage).steps
        if origin.start and origin.start.step >= steps:
            report.say(f"{STAGES[stage]}: all {steps} steps are done already")
            return {"stage": stage, "steps": steps, "from_step": steps, "loss": None}
        prepared = _prepare(origin, stage, spool)
        figures = loop.train(build(prepared), prepared.run, origin.start)
        if spool and prepared.run.metrics.path:
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
        parts |= first.parts()
        identity["trained text encoder"] = base_fingerprint(first.folder)
    if (count := processes().num_processes) > 1:
        identity["processes"] = count
    facts = {"run": identity, "machine": _machine()}
    start = newest_checkpoint(session.checkpoints, stage, report.say)
    if start:
        _check_same_run(start, facts, fork)
        report.say(f"going on from {start.name}")
    facts["chosen"] = _chosen(recipe, start.facts.get("chosen", {}) if start and not fork else {})
    return Origin(session, recipe.changed(**facts["chosen"]), base, parts, photos, priors, facts, start)


def _prepare(origin: Origin, stage: str, spool: Spool | None) -> Prepared:
    session, recipe = origin.session, origin.recipe
    accelerator = make_accelerator(recipe)
    material = _material(origin)
    if spool:
        sizes_px = [view.size_px for views in material.views for view in views]
        need_stage_room(session, recipe, stage, origin.base, origin.parts, sizes_px, len(material.prompts))
        files.make_folder(session.logs)
    with accelerator.main_process_first():  # who comes later finds all in the cache
        batches = _batches(origin, stage, material, accelerator)
    metrics = Metrics(brought(session.logs / "metrics.jsonl") if spool else None)

    def saved(checkpoint: Checkpoint) -> None:
        assert spool
        spool.add(f"checkpoints/{checkpoint.name}", keep=recipe.save.keep)
        spool.add("logs/metrics.jsonl")
        need_turn()

    def sample(checkpoint: str) -> None:
        if not spool or not metrics.path:
            return
        draw_loss(metrics.path, working(session.logs) / "loss.png")
        spool.add("logs/loss.png")
        try:
            process.run_stage("fsd.generate.sample", str(session.folder), "--training-samples", checkpoint)
        except FsdError as fault:
            report.say(f"no samples of {checkpoint}, training goes on: {fault}")

    run = loop.Run(recipe, accelerator, working(session.checkpoints), metrics, origin.facts, saved, sample)
    return Prepared(origin, material.prompts, accelerator, batches, run)


@dataclass(frozen=True)
class _Material:
    """What a stage trains on. views: of each picture, photos first. prompts: all there are. examples: a picture each."""

    views: list[list[View]]
    prompts: list[str]
    examples: list[Example]


def _material(origin: Origin) -> _Material:
    recipe, pictures = origin.recipe, [*origin.photos, *origin.priors]
    plain = recipe.changed(augment__copies=0)
    views = [views_of(photo, recipe) for photo in origin.photos] + [views_of(photo, plain) for photo in origin.priors]
    ways = [ways_to_write(picture.prompt, recipe, picture.path.name) for picture in pictures]
    prompts = sorted({prompt for way in ways for prompt in way} | ({""} if recipe.captions.dropout else set()))
    examples = [
        Example(places, tuple(prompts.index(prompt) for prompt in way))
        for places, way in zip(_places(views), ways, strict=True)
    ]
    return _Material(views, prompts, examples)


def _batches(origin: Origin, stage: str, material: _Material, accelerator: Accelerator) -> Batches:
    """The batches of a stage, whose pictures are encoded."""
    recipe, parts, cache = origin.recipe, origin.parts, origin.session.cache
    views = [one for each in material.views for one in each]
    latents = encode_views(views, parts["vae"], cache, accelerator.device)
    tokens = (recipe.resolution_px // LATENT_FACTOR // 2) ** 2
    schedule = load_schedule(parts["scheduler"], tokens, recipe.flow_shift, recipe.zero_terminal_snr)
    count = len(origin.photos)
    return Batches(
        stage, recipe, material.examples[:count], material.examples[count:], latents, schedule,
        no_prompt=material.prompts.index("") if "" in material.prompts else None,
        process=accelerator.process_index, processes=accelerator.num_processes,
    )  # fmt: skip


def _places(groups: Sequence[Sequence[object]]) -> list[tuple[int, ...]]:
    """Where the members of each group are when all of them stand in one row."""
    found, first = [], 0
    for group in groups:
        found.append(tuple(range(first, first + len(group))))
        first += len(group)
    return found


def _identity(session: Session, recipe: Recipe, stage: str, base: Path) -> dict[str, Any]:
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
    usual = _flat(Recipe().identity()) | {"processes": 1}  # for settings that are younger than the checkpoint
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


def _machine() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return {"device": device, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
