"""What both stages do before the loop: read the session, encode the photos, find where to go on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from fsd.data.dataset import TrainingPhoto, class_photos, held_out_photos, training_photos
from fsd.data.lock import need_turn
from fsd.data.session import Session, open_session_folder
from fsd.errors import FsdError, Interrupted
from fsd.recipe import Recipe
from fsd.runtime import files, process, report
from fsd.runtime.space import need_room
from fsd.runtime.spool.local_first import brought, working
from fsd.runtime.spool.spool import Spool
from fsd.train import loop
from fsd.train.batch import Batch, Batches
from fsd.train.choices import chosen, machine
from fsd.train.device import compute_dtype, make_accelerator
from fsd.train.finished import already_done
from fsd.train.identity import check_same_run, identity_of, stage_before
from fsd.train.material import encoded, material_of
from fsd.train.metrics import Metrics
from fsd.train.network import Conditioning
from fsd.train.prompts import encode_prompts
from fsd.train.room import stage_needs
from fsd.train.sharding import need_shardable, sharding_wanted
from fsd.train.together import main_first, processes, writer
from fsd.weights.backbone import backbone_part
from fsd.weights.base_model import find_base_model
from fsd.weights.checkpoint import Checkpoint, newest_checkpoint
from fsd.weights.model import base_parts

_BOARD = "tensorboard"


@dataclass(frozen=True)
class Origin:
    """Where a stage starts from, as found on the disk.

    base: the base model's folder. parts: the folder of each of its parts, with stage 1's text encoders in stage 2.
    photos, priors: instance and class images. checks: what the validation loss is measured on. facts: what tells this run
    from another. start: the checkpoint to go on from, or None.
    """

    session: Session
    recipe: Recipe
    base: Path
    parts: dict[str, Path]
    photos: list[TrainingPhoto]
    priors: list[TrainingPhoto]
    checks: list[TrainingPhoto]
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
        with main_first():
            given = encode_prompts(self.prompts, origin.base, origin.parts, cache, device, dtype)
        return {name: tensor.to(device) for name, tensor in given.items()}


def run_stage(arguments: list[str], stage: str, build: Any) -> dict[str, Any]:
    """Train a session's stage: the main function of both stage processes. arguments: SESSION_FOLDER [--fork].

    build(prepared) loads the networks and returns the `loop.Stage`.
    """
    session = open_session_folder(Path(arguments[0]))
    with writer(session) as spool:
        with main_first():  # who comes later finds all squares there
            origin = _origin(session, stage, fork="--fork" in arguments)
        steps = getattr(origin.recipe, stage).steps
        if origin.start and origin.start.step >= steps:
            return already_done(stage, steps)
        prepared = _prepare(origin, stage, spool)
        return loop.train(build(prepared), prepared.run, origin.start)


def session_metrics(session: Session, recipe: Recipe, spool: Spool | None) -> Metrics:
    """The session's figures, to be gone on with; without a spool, in all processes but the first, none are written."""
    return Metrics(
        brought(session.logs / "metrics.jsonl") if spool else None,
        working(session.logs) / _BOARD if spool and recipe.tensorboard else None,
    )


def bringing(session: Session, recipe: Recipe, spool: Spool | None, metrics: Metrics) -> Callable[[Checkpoint], None]:
    """What is done with each checkpoint that is whole: it goes to Drive with the figures so far."""

    def saved(checkpoint: Checkpoint) -> None:
        assert spool
        spool.add(f"checkpoints/{checkpoint.name}", keep=recipe.save.keep)
        spool.add("logs/metrics.jsonl")
        if metrics.draw(working(session.logs) / "loss.png", last=checkpoint.done):
            spool.add("logs/loss.png")
        if metrics.board:
            spool.add(f"logs/{_BOARD}")
        need_turn()

    return saved


def _origin(session: Session, stage: str, fork: bool) -> Origin:
    recipe = session.recipe().checked()
    photos, priors = training_photos(session), class_photos(session)[: recipe.prior.images]
    checks = (held_out_photos(session) or photos) if recipe.validation.every_steps else []
    base = find_base_model(recipe.base_model or recipe.family)
    parts = base_parts(base)
    before = stage_before(session, recipe, stage, base, report.say)
    parts |= before.parts() if before else {}
    identity = identity_of(session, recipe, stage, base, before)
    if (count := processes().num_processes) > 1:
        identity["processes"] = count
    if sharding_wanted():
        need_shardable(recipe, stage)
        identity["sharded"] = True
    facts = {"run": identity, "machine": machine()}
    start = newest_checkpoint(session.checkpoints, stage, report.say)
    if start:
        check_same_run(start, facts, fork)
        report.say(f"going on from {start.name}")
    then = start.facts.get("chosen", {}) if start and not fork else {}
    facts["chosen"] = chosen(recipe, then, stage, parts[backbone_part(base)])
    return Origin(session, recipe.changed(**facts["chosen"]), base, parts, photos, priors, checks, facts, start)


def _prepare(origin: Origin, stage: str, spool: Spool | None) -> Prepared:
    session, recipe = origin.session, origin.recipe
    accelerator = make_accelerator(recipe)
    material = material_of(recipe, origin.photos, origin.priors, origin.checks)
    if spool:
        views = sum(len(each) for each in material.views)
        need_room(stage_needs(session, recipe, stage, origin.base, views, len(material.prompts)))
        files.make_folder(session.logs)
    with main_first():  # who comes later finds all in the cache
        batches, validation = encoded(material, stage, recipe, origin.parts, session.cache, accelerator)
    metrics = session_metrics(session, recipe, spool)

    def sample(checkpoint: str) -> None:
        if not spool:
            return
        try:
            process.run_stage("fsd.generate.sample", str(session.folder), "--training-samples", checkpoint)
        except Interrupted:
            raise
        except FsdError as fault:
            report.say(f"no samples of {checkpoint}, training goes on: {fault}")

    place = working(session.checkpoints)
    saved = bringing(session, recipe, spool, metrics)
    run = loop.Run(recipe, accelerator, place, metrics, origin.facts, validation, saved, sample)
    return Prepared(origin, material.prompts, accelerator, batches, run)
