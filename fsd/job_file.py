"""`fsd run`: a whole job from one JSON file, without a notebook. The same verbs in the same order; run again, it goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fsd import pictures, pipeline
from fsd.data.session import Session
from fsd.errors import RecipeError, meant
from fsd.families import get_family
from fsd.needs import family_of
from fsd.recipe import Recipe
from fsd.runtime import report
from fsd.runtime.report import Result
from fsd.settings import build, type_faults

STAGES = ("text_encoder", "unet", "save_ckpt", "generate", "score")
"""What a job may do after its photos are in, in the only order that makes sense."""
_DEFAULT_STAGES = ("text_encoder", "unet", "save_ckpt")
_EXAMPLE = '{"session": "cup", "photos": "photos", "base_model": "sd15", "identifier": "sks", "class_word": "cup"}'


@dataclass(frozen=True)
class CaptionOrder:
    """As for the verb caption-photos."""

    mode: str = "keep"
    template: str = ""


@dataclass(frozen=True)
class CkptOrder:
    """As for the verb save-ckpt."""

    format: str = "safetensors"
    dtype: str = "fp16"


@dataclass(frozen=True)
class PictureOrder:
    """As for the verb generate."""

    prompts: tuple[str, ...] = ()
    negative: str = ""
    images: int = 1
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None


@dataclass(frozen=True)
class JobFile:
    """A whole job. Paths are as seen from the file's folder. settings: of the recipe, nested or with dots in the names.

    photos: a folder, a file or a zip; "" uses those that the session has. base_model: "" for the session's own, else sd15.
    stages: of STAGES. root: as for open-session.
    """

    session: str
    photos: str = ""
    base_model: str = ""
    family: str = ""
    resolution_px: int = 0
    root: str = ""
    identifier: str = ""
    class_word: str = ""
    hold_out: int = 0
    captions: CaptionOrder = field(default_factory=CaptionOrder)
    settings: dict = field(default_factory=dict)
    stages: tuple[str, ...] = _DEFAULT_STAGES
    ckpt: CkptOrder = field(default_factory=CkptOrder)
    pictures: PictureOrder = field(default_factory=PictureOrder)


def read_job(path: Path) -> JobFile:
    """The job in a file; RecipeError naming what is unknown, of a wrong type or impossible, before anything is done."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"there is no job at {path}", f"write one, such as {_EXAMPLE}") from None
    except (ValueError, OSError) as fault:
        raise RecipeError(f"{path} cannot be read as JSON: {fault}", "mend the file") from None
    if not isinstance(record, dict) or not record.get("session"):
        raise RecipeError(f"{path} names no session", f"write a JSON object such as {_EXAMPLE}")
    job: JobFile = build(JobFile, record)
    if not isinstance(job.settings, dict):
        raise RecipeError(f"settings in {path} is no JSON object", 'write {"unet.steps": 800}')
    if faults := [*type_faults(job), *_stage_faults(job.stages)]:
        raise RecipeError(f"{path} cannot be used: {'; '.join(faults)}", "mend the file")
    family = get_family(job.family or family_of(job.base_model) or Recipe.family)
    if faults := type_faults(_recipe_with(job, Recipe(family=family.name))):
        raise RecipeError(f"the settings in {path} cannot be used: {'; '.join(faults)}", "mend the file")
    return _from_here(job, path.resolve().parent)


def run(recipe: str) -> Result:
    """Do a whole job without a notebook, from one JSON file; run again, it goes on where it stopped.

    recipe: the file: session, photos, base_model, identifier, class_word, settings, stages and more.
    """
    job = read_job(Path(recipe))
    session = pipeline.open_session(job.session, job.root)
    if not _has_base_model(session, job):
        _say(pipeline.choose_base_model(session, job.base_model or "sd15", job.family, job.resolution_px))
    if job.photos:
        _say(pipeline.add_photos(session, job.photos, job.identifier, job.class_word, job.hold_out))
    before = session.recipe()
    settled = _recipe_with(job, before).checked()
    if settled != before:
        session.save_recipe(settled)
    _say(pipeline.caption_photos(session, job.captions.mode, job.captions.template))
    done = {stage: _do(stage, session, job) for stage in STAGES if stage in job.stages}
    last = list(done.values())[-1] if done else Result("photos and captions are ready")
    figures = {"session": str(session.folder), "stages": {stage: dict(result) for stage, result in done.items()}}
    return Result(f"done: {session.name}, {session.folder}", picture=last.picture, **figures)


def _do(stage: str, session: Session, job: JobFile) -> Result:
    order = job.pictures
    verbs = {
        "text_encoder": lambda: pipeline.train_text_encoder(session),
        "unet": lambda: pipeline.train_unet(session),
        "save_ckpt": lambda: pipeline.save_ckpt(session, job.ckpt.format, job.ckpt.dtype),
        "generate": lambda: pictures.generate(
            session, *order.prompts, negative=order.negative, images=order.images, seed=order.seed,
            steps=order.steps, guidance=order.guidance,
        ),
        "score": lambda: pictures.score(session),
    }  # fmt: skip
    result = verbs[stage]()
    _say(result)
    return result


def _recipe_with(job: JobFile, recipe: Recipe) -> Recipe:
    """The recipe with the job's settings; RecipeError for one that there is not, or that has its own place in the job."""
    for name in job.settings:
        if name in ("family", "base_model", "resolution_px", "identifier", "class_word"):
            raise RecipeError(f"{name} stands among the settings", "move it to the top of the file, beside session")
    words = {"identifier": job.identifier or recipe.identifier, "class_word": job.class_word or recipe.class_word}
    return recipe.changed(**words, **_flat(job.settings))


def _flat(settings: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Nested settings with dots in their names, so that what is not named keeps its value."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{where}{name}.") if isinstance(value, dict) else {where + name: value}
    return found


def _has_base_model(session: Session, job: JobFile) -> bool:
    recipe = session.recipe()
    wanted = (
        job.base_model or recipe.base_model, job.family or recipe.family, job.resolution_px or recipe.resolution_px
    )  # fmt: skip
    return bool(recipe.base_model) and wanted == (recipe.base_model, recipe.family, recipe.resolution_px)


def _stage_faults(stages: tuple[str, ...]) -> list[str]:
    return [f"there is no stage {one!r} ({meant(str(one), STAGES)}known are {', '.join(STAGES)})"
            for one in stages if one not in STAGES]  # fmt: skip


def _from_here(job: JobFile, folder: Path) -> JobFile:
    """The job with its paths made absolute: those that are there as seen from the file's folder."""

    def found(text: str) -> str:
        there = (folder / Path(text).expanduser()).resolve()
        return str(there) if text and there.exists() else text

    root = str(folder / Path(job.root).expanduser()) if job.root else ""
    return replace(job, photos=found(job.photos), base_model=found(job.base_model), root=root)


def _say(result: Result) -> None:
    report.say(f"\n{result.text}")
