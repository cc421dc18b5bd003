"""`fsd run`: a whole job from one JSON file, without a notebook. The same verbs in the same order; run again, it goes on."""

from __future__ import annotations

from pathlib import Path

from fsd import pictures, pipeline
from fsd.data.concept import photos_of
from fsd.data.session import Session, check_root, sessions_folder
from fsd.errors import RecipeError
from fsd.give_back import give_back, need_to_give_back
from fsd.job_done import Done
from fsd.job_orders import JobFile, recipe_with
from fsd.job_reading import read_job
from fsd.job_room import need_job_room
from fsd.naming import name_subject
from fsd.needs import opened, root_folder
from fsd.presets import with_preset
from fsd.runtime import report
from fsd.runtime.report import Result


def run(recipe: str) -> Result:
    """Do a whole job without a notebook, from one JSON file; run again, it goes on where it stopped.

    recipe: the file, with session, photos, base_model, family, resolution_px, identifier, class_word, hold_out, captions,
    preset, settings, stages, ckpt, pictures, root, fork and disconnect, of which only session must be there; or a session's
    own recipe.json.
    """
    job = read_job(Path(recipe))
    root = root_folder(job.root)
    check_root(root)
    planned = Session(sessions_folder(root) / job.session)
    need_to_give_back(planned, job.disconnect)
    need_job_room(job, planned)
    session = opened(job.session, job.root)
    name_subject(session, job.identifier, job.class_word, job.fork)
    if not _has_base_model(session, job):
        base_model = job.base_model or session.recipe().base_model or "sd15"
        _say(pipeline.choose_base_model(session, base_model, job.family, job.resolution_px))
    if job.photos:
        _say(pipeline.add_photos(session, job.photos, hold_out=job.hold_out, preset=job.preset))
    elif job.preset:
        count = len(photos_of(session.instance_images))
        session.save_recipe(with_preset(session.recipe(), job.preset, count, count))
    before = session.recipe()
    settled = recipe_with(job, before).checked()
    if settled != before:
        session.save_recipe(settled)
    captions = pipeline.caption_photos(session, **vars(job.captions))
    record = Done(session, job)
    done = record.find()
    if done:
        report.say(f"done already, and nothing has changed since: {', '.join(map(_told, done.items()))}")
    if not job.stages or len(done) < len(job.stages):
        _say(captions)
    for stage in [stage for stage in job.stages if stage not in done]:
        try:
            done[stage] = _do(stage, session, job)
        except RecipeError as refused:  # it is not what was trained so far
            session.save_recipe(before)
            hint = refused.hint.replace("or fork to go", 'or write "fork": true into the job, to go')
            raise RecipeError(refused.message, hint) from None
        record.keep(stage, done[stage])
    done = {stage: done[stage] for stage in job.stages}
    last = list(done.values())[-1] if done else Result("photos and captions are ready")
    figures = {"session": str(session.folder), "stages": {stage: dict(result) for stage, result in done.items()}}
    if job.disconnect:
        give_back(session)  # with which Drive is away, and its pictures
    picture = None if job.disconnect else last.picture
    return Result(f"done: {session.name}, {session.folder}", picture=picture, **figures)


def _told(done: tuple[str, Result]) -> str:
    """A stage that was done before, with where its result is."""
    stage, result = done
    place = result.get("ckpt") or result.get("lora") or result.get("grid")
    return f"{stage} ({place})" if place else stage


def _do(stage: str, session: Session, job: JobFile) -> Result:
    order = job.pictures
    verbs = {
        "text_encoder": lambda: pipeline.train_text_encoder(session, fork=job.fork),
        "unet": lambda: pipeline.train_unet(session, fork=job.fork),
        "lora": lambda: pipeline.train_lora(session, fork=job.fork),
        "save_ckpt": lambda: pipeline.save_ckpt(session, job.ckpt.format, job.ckpt.dtype),
        "save_lora": lambda: pipeline.save_lora(session),
        "generate": lambda: pictures.generate(
            session, *order.prompts, negative=order.negative, images=order.images, seed=order.seed,
            steps=order.steps, guidance=order.guidance, compare=order.compare,
        ),
        "score": lambda: pictures.score(session),
    }  # fmt: skip
    result = verbs[stage]()
    _say(result)
    return result


def _has_base_model(session: Session, job: JobFile) -> bool:
    recipe = session.recipe()
    wanted = (
        job.base_model or recipe.base_model, job.family or recipe.family, job.resolution_px or recipe.resolution_px
    )  # fmt: skip
    return bool(recipe.base_model) and wanted == (recipe.base_model, recipe.family, recipe.resolution_px)


def _say(result: Result) -> None:
    report.say(f"\n{result.text}")
