"""What cannot be done of a job, all of it, before anything is made: a sentence for each fault."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fsd.data.concept import photos_of
from fsd.data.folder import Session, is_session
from fsd.data.names import check_name, is_plain
from fsd.data.session import sessions_folder
from fsd.errors import FsdError, RecipeError, meant
from fsd.families import FAMILIES, get_family
from fsd.families.rules import default_method
from fsd.job_orders import SAVE, STAGES, JobFile, flat, methods_of, recipe_with, usual_stages
from fsd.needs import counting_up, family_of
from fsd.recipe import STAGES as TRAINED
from fsd.recipe import STAGES_OF, Recipe
from fsd.runtime import colab, drive
from fsd.settings import drawing_faults, type_faults
from fsd.weights import checkpoint

AT_THE_TOP = ("family", "base_model", "resolution_px", "identifier", "class_word")
"""Settings of the recipe that have their own place in a job."""


def value_faults(job: JobFile, folder: Path) -> list[str]:
    """What cannot be done of a job whose values are of their types. folder: that of its file, from which paths are seen."""
    found = _stage_order_faults(job) + _method_faults(job)
    if _is_no_model(job.base_model) and not seen_from(folder, job.base_model).exists():
        found.append(
            f"there is no base model {job.base_model!r} ({meant(job.base_model, FAMILIES)}fsd families lists them)"
        )
    found += _told(lambda: counting_up("pictures.images", job.pictures.images))
    found += _told(lambda: check_name(job.session)) if job.session else []
    found += drawing_faults(job.pictures.steps, job.pictures.guidance, (job.pictures.seed,), "pictures.")
    there = _session_of(job, folder)
    found += _photo_faults(job, folder, there)
    is_new = there is not None and not is_session(there.folder)
    found += _setting_faults(job, "" if is_new else "subject")
    return found + (_training_faults(job, there) if there else [])


def with_usual_stages(job: JobFile, folder: Path) -> JobFile:
    """A job that names no stages with those of its method: of its settings, of its session, else of its base model."""
    there, own = _session_of(job, folder), Recipe()
    with suppress(FsdError):  # told elsewhere
        own = there.recipe() if there and is_session(there.folder) else own
    named = job.family or family_of(job.base_model)
    other = named in FAMILIES and named != own.family
    method = flat(job.settings).get("method", default_method(FAMILIES[named]) if other else own.method)
    return replace(job, stages=usual_stages(method if method in STAGES_OF else own.method))


def seen_from(folder: Path, text: str) -> Path:
    """A path of a job, absolute. folder: that of the job's file."""
    return (folder / Path(text).expanduser()).resolve()


def _told(look: Callable[[], object]) -> list[str]:
    """The error of what is looked at, as a fault."""
    try:
        look()
    except FsdError as fault:
        return [f"{fault.message} ({fault.hint})"]
    return []


def _session_of(job: JobFile, folder: Path) -> Session | None:
    """The job's session, which need not be there yet; None without a name, and where Drive would have to be asked."""
    if not is_plain(job.session) or (colab.in_colab() and not job.root):
        return None
    root = str(folder / Path(job.root).expanduser()) if job.root else drive.home()
    return Session(sessions_folder(root) / job.session)


def _stage_order_faults(job: JobFile) -> list[str]:
    found = [f"there is no stage {one!r} ({meant(one, STAGES)}known are {', '.join(STAGES)})"
             for one in dict.fromkeys(job.stages) if one not in STAGES]  # fmt: skip
    known = [one for one in job.stages if one in STAGES]
    found += [f"the stage {one} is named {known.count(one)} times" for one in STAGES if known.count(one) > 1]
    if (once := list(dict.fromkeys(known))) != (order := sorted(once, key=STAGES.index)):
        found.append(f"the stages stand as {', '.join(once)}, but can only follow as {', '.join(order)}")
    return found


def _method_faults(job: JobFile) -> list[str]:
    """Stages of both methods, or of another than the settings name."""
    if len(found := methods_of(job.stages)) > 1:
        both = " and ".join(f"{', '.join(stages)} (method {method})" for method, stages in found.items())
        return [f"a job trains by one method, but the stages are {both}"]
    return [f'the settings say "method": {named!r}, but {", ".join(stages)} are stages of method {method}'
            for method, stages in found.items() if (named := flat(job.settings).get("method", method)) != method]  # fmt: skip


def _photo_faults(job: JobFile, folder: Path, there: Session | None) -> list[str]:
    """What is wrong with the photos and how many are held out; what lies on a Drive that is away is taken to be well."""
    from fsd.data.counting import count_photos

    found = [f"hold_out is {job.hold_out}, below 0"] if job.hold_out < 0 else []
    has = [there.instance_images, there.held_out_images] if there else []
    old = [path for place in has for path in photos_of(place)]
    if job.photos:
        place = seen_from(folder, job.photos)
        if colab.in_colab() and not place.exists():
            return found
        try:
            count = count_photos(place, old, exactly=job.hold_out > 0)
        except FsdError as fault:
            return [*found, f"{fault.message} ({fault.hint})"]
    else:
        count = len(old)
        if there and not old:
            found.append(f'session {job.session!r} has no photos yet, and the job names none: add "photos"')
    if there and 0 < count <= job.hold_out:
        found.append(f"hold_out is {job.hold_out}, but there are only {count} photos: one at least must be left")
    if there and "score" in job.stages and not job.hold_out and not photos_of(there.held_out_images):
        found.append('score needs photos that training never saw: add "hold_out"')
    return found


def _training_faults(job: JobFile, there: Session) -> list[str]:
    """A stage that stands on one which neither the session has done nor the job will do."""
    own = Recipe()
    found = []
    try:
        own = there.recipe() if there.recipe_path.exists() else own
        first = int(flat(job.settings).get("text_encoder.steps", own.text_encoder.steps))
    except (FsdError, TypeError, ValueError):
        return []  # told elsewhere
    begun = [stage for stage in TRAINED if checkpoint.list_checkpoints(there.checkpoints, stage)]
    first_is_done = checkpoint.is_done(there.checkpoints, "text_encoder") or "text_encoder" in job.stages
    if "unet" in job.stages and first and not first_is_done:
        found.append('the stage unet needs the stage text_encoder before it: name it, or set "text_encoder.steps": 0')
    trained = STAGES_OF[next(iter(methods_of(job.stages)), own.method)]
    for stage in (*SAVE.values(), "score"):
        if stage in job.stages and not {*trained} & {*job.stages, *begun}:
            found.append(f"the stage {stage} needs a trained model: name {' and '.join(trained)} before it")
    return found


def _is_no_model(name: str) -> bool:
    """Whether a base model's name can only be that of a family, and is that of none."""
    return bool(name) and name not in FAMILIES and "/" not in name


def _setting_faults(job: JobFile, class_word: str) -> list[str]:
    """What is wrong with the job's settings of the recipe. class_word: what the session may know already."""
    found = [f"{name} stands among the settings: move it to the top of the file, beside session"
             for name in job.settings if name in AT_THE_TOP]  # fmt: skip
    named = job.family or family_of(job.base_model)
    found += _told(lambda: get_family(named or Recipe.family))
    family = FAMILIES.get(named, FAMILIES[Recipe.family])
    resolution_px = (named in FAMILIES and job.resolution_px) or family.native_px
    trial = Recipe(family=family.name, resolution_px=resolution_px, class_word=class_word)
    trial = trial.changed(method=default_method(family))
    sound = {}
    for name, value in flat(job.settings).items():
        try:
            wrong = type_faults(trial.changed(**{name: value}))
        except RecipeError as fault:
            wrong = [f"{fault.message} ({fault.hint})"]
        found += wrong
        if not wrong and name not in AT_THE_TOP:
            sound[name] = value
    return found + recipe_with(replace(job, settings=sound), trial).faults()
