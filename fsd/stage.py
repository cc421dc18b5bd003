"""The stages as their verbs run them: training in a child process, then the model as one file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsd.data.concept import photos_of
from fsd.data.lock import writing
from fsd.data.session import Session
from fsd.errors import RecipeError, WeightsError
from fsd.families import get_family
from fsd.needs import base_folder, need_photos, need_training
from fsd.recipe import STAGES, STAGES_OF, Recipe
from fsd.runtime import files, live, report
from fsd.runtime.process import LOADING, run_stage
from fsd.runtime.report import Result
from fsd.runtime.space import Need, need_room
from fsd.runtime.spool.local_first import working
from fsd.runtime.spool.safe import bring, spool_of
from fsd.runtime.spool.turn import is_stale
from fsd.settings import one_of
from fsd.weights.model import MARK, trained_model
from fsd.weights.set_aside import taking_turn
from fsd.weights.sizes import ckpt_needs, lora_needs, numbers_in


def train_stage(
    session: Session, stage: str, steps: int | None, learning_rate: float | None, fork: bool, rank: int | None = None
) -> Result:
    """Train one of `recipe.STAGES`, from where it stopped, and say how far it came and where its pictures are.

    steps, learning_rate, rank (of a LoRA): kept in the recipe first, with the method that the stage belongs to; None
    leaves them. A recipe that the stage refuses is as it was before.
    fork: go on from the last checkpoint although the settings have changed since.
    """
    need_photos(session)
    method = next(method for method, stages in STAGES_OF.items() if stage in stages)
    wanted = {
        "method": method, f"{stage}.steps": steps, f"{stage}.learning_rate": learning_rate, f"{stage}.rank": rank
    }  # fmt: skip
    before = session.recipe()
    recipe = before.changed(**{name: value for name, value in wanted.items() if value is not None})
    if recipe != before:
        session.save_recipe(recipe)
    if getattr(recipe, stage).steps == 0:
        return Result(f"{STAGES[stage]}: 0 steps, nothing to train", stage=stage, steps=0)
    base = base_folder(session)  # fetched here where it is missing: the children have no tokens
    if recipe.prior.images and not _class_images_are_there(session):
        _need_room(session, recipe, stage, base)  # also for what comes after the class images
        report.say(LOADING.format("class images"))
        run_stage("fsd.generate.sample", str(session.folder), "--class-images")
    take_turn(session)
    plots = [place / "loss.png" for place in (working(session.logs), session.logs)]
    try:
        bring(spool_of(session.folder))  # what an earlier machine left here, and a Drive that died meanwhile
        with live.shown(plots):
            figures = _trained(session, stage, fork)
    except RecipeError:  # refused before anything was trained
        session.save_recipe(before)
        raise
    finally:
        bring(spool_of(session.folder))
    plot = next(filter(os.path.exists, plots), None)  # exists: no error on a Drive that has died meanwhile
    steps = figures["steps"]
    loss = "" if figures["loss"] is None else f", loss {figures['loss']:.4f}"
    text = f"{STAGES[stage]}: {steps} of {steps} steps{loss}{_time(figures.get('seconds', {}))}"
    samples = session.samples / f"{stage}-{steps:06d}" / "grid.png"
    if os.path.exists(samples):
        text += f"\nsamples: {samples}"
    return Result(text, picture=plot, **figures)


def _trained(session: Session, stage: str, fork: bool) -> dict[str, Any]:
    """What the stage's process gives back; none is started where all its steps are done."""
    from fsd.train.finished import already_done, is_finished

    if not fork and is_finished(session, stage):
        return already_done(stage, getattr(session.recipe(), stage).steps)
    report.say(LOADING.format(STAGES[stage]))
    return run_stage(f"fsd.train.{stage}", str(session.folder), *(["--fork"] if fork else []))


def _time(seconds: dict[str, float]) -> str:
    """Where a stage's time went: the training first."""
    told = {what: report.human_seconds(spent) for what, spent in seconds.items() if spent >= 1}
    training = told.pop("training", "")
    beside = f" ({', '.join(f'{what} {spent}' for what, spent in told.items())})" if told else ""
    return f", in {training}{beside}" if training else ""


def _class_images_are_there(session: Session) -> bool:
    from fsd.generate.class_images import class_images_are_there

    return class_images_are_there(session)


def _need_room(session: Session, recipe: Recipe, stage: str, base: Path) -> None:
    from fsd.train.room import class_images_need, stage_needs

    count = len(photos_of(session.instance_images))
    need_room([class_images_need(session, recipe), *stage_needs(session, recipe, stage, base, photos=count)])


def take_turn(session: Session) -> None:
    """Before anything is brought to Drive: set aside what this machine's disk has from before another's turn."""
    if is_stale(session.folder):
        with writing(session), taking_turn(session.folder):
            pass


def save_stage(session: Session, format: str, dtype: str, step: str) -> Result:
    """Write the trained model as one file into the session, and say what it is made of and how large it is."""
    from fsd.weights.ckpt import save_ckpt as save

    need_training(session)
    recipe = session.recipe()
    if recipe.method == "lora":
        raise WeightsError(f"session {session.name!r} trains a LoRA, not a whole model", "run save_lora")
    model = trained_model(base_folder(session), session.checkpoints, recipe, report.say, step)
    name = f"{session.name}-{step}" if step else session.name
    metadata = {"modelspec.title": session.name, "fsd.recipe": recipe.fingerprint(), MARK: model.mark}
    file_name = f"{name}.{one_of('format', format, 'safetensors', 'ckpt')}"
    dtype, layout = one_of("dtype", dtype, "fp16", "fp32"), get_family(recipe.family).layout
    with _file(session, file_name, ckpt_needs(session.folder, model.parts, layout, dtype)) as target:
        saved = save(model.parts, target, dtype=dtype, metadata=metadata, layout=layout)
    size = f"{report.human_bytes(saved.size_bytes)}, {saved.tensors} tensors, SHA-256 {saved.sha256}"
    path = spool_of(session.folder).place(file_name)
    text = f"{path}\n{model.as_text(recipe)}\n{size}"
    return Result(text, ckpt=str(path), size_bytes=saved.size_bytes, tensors=saved.tensors, sha256=saved.sha256)


def save_lora_stage(session: Session, step: str) -> Result:
    """Write the trained LoRA as one file in kohya's form into the session, and say what it is of."""
    from fsd.weights.lora_file import convert_lora

    need_training(session, "lora")
    recipe = session.recipe().changed(method="lora")
    model = trained_model(base_folder(session), session.checkpoints, recipe, report.say, step)
    if not model.lora:
        raise WeightsError(
            f"{step!r} is no step of the LoRA of session {session.name!r}", "leave it empty for the newest"
        )
    inner = f"{session.loras.name}/{session.name}{f'-{step}' if step else ''}.safetensors"
    notes = {"modelspec.title": session.name, "modelspec.trigger_phrase": recipe.prompt("{identifier} {class}")}
    notes |= {"fsd.recipe": recipe.fingerprint(), MARK: model.mark}
    with _file(session, inner, lora_needs(session.folder, numbers_in(model.lora))) as target:
        saved = convert_lora(model.lora, target, "kohya", get_family(recipe.family).layout, notes)
        sha256 = files.sha256(target)
    size = f"{report.human_bytes(saved.size_bytes)}, {saved.layers} layers, rank {recipe.lora.rank}, SHA-256 {sha256}"
    path = spool_of(session.folder).place(inner)
    figures: dict[str, Any] = {
        "size_bytes": saved.size_bytes,
        "layers": saved.layers,
        "rank": recipe.lora.rank,
        "sha256": sha256,
    }
    return Result(f"{path}\n{model.as_text(recipe)}\n{size}", lora=str(path), **figures)


@contextmanager
def _file(session: Session, inner: str, needs: Iterable[Need]) -> Iterator[Path]:
    """Where to write a file of the session, which is brought to Drive when the block ends well. needs: its room."""
    with writing(session), taking_turn(session.folder) as spool:
        files.clear_temporary(working(session.folder))  # not on Drive, where the spool writes meanwhile
        need_room(needs)
        spool.forget(inner)  # the older one of that name, which it replaces
        target = working(session.folder) / inner
        files.make_folder(target.parent)
        yield target
        spool.add(inner)
