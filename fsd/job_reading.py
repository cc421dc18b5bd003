"""A job file read: everything that is wrong with it is told at once, before anything is done."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from fsd.data.folder import is_session
from fsd.data.names import check_name
from fsd.data.session import sessions_folder
from fsd.errors import FsdError, RecipeError, meant
from fsd.families import FAMILIES, get_family
from fsd.job_orders import STAGES, JobFile, flat, recipe_with
from fsd.needs import counting_up, family_of
from fsd.recipe import Recipe
from fsd.runtime import colab
from fsd.settings import build, type_faults, unknown_names

_EXAMPLE = '{"session": "cup", "photos": "photos", "base_model": "sd15", "identifier": "sks", "class_word": "cup"}'
_AT_THE_TOP = ("family", "base_model", "resolution_px", "identifier", "class_word")
"""Settings of the recipe that have their own place in a job."""


def read_job(path: Path) -> JobFile:
    """The job in a file; or, where that is a session's folder or its recipe.json, the job of going on with it as it stands.

    RecipeError naming all that is unknown, of a wrong type or impossible.
    """
    path = path / "recipe.json" if path.is_dir() else path
    record = _of_session(path) or _record(path)
    faults = [f"{what} ({hint})" for what, hint in unknown_names(JobFile, record)]
    job: JobFile = build(JobFile, _known(JobFile, record))
    wrong = type_faults(job)
    faults += [*wrong, *_value_faults(_sound(job, wrong), path.resolve().parent)]
    if faults:
        raise RecipeError(f"{path} cannot be used: {'; '.join(faults)}", "mend the file; nothing has been done yet")
    return _from_here(job, path.resolve().parent)


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"there is no job at {path}", f"write one, such as {_EXAMPLE}") from None
    except (ValueError, OSError) as fault:
        raise RecipeError(f"{path} cannot be read as JSON: {fault}", "mend the file") from None
    if isinstance(record, dict) and not record.get("session") and not record.keys() - {f.name for f in fields(Recipe)}:
        hint = f'put the name of a session at its top, and what is not of {", ".join(_AT_THE_TOP)} into "settings"'
        raise RecipeError(f"{path} names no session: it is a recipe alone", f"{hint}: {_EXAMPLE[:-1]}, ...}}")
    if not isinstance(record, dict) or not record.get("session"):
        raise RecipeError(f"{path} names no session", f"write a JSON object such as {_EXAMPLE}")
    return record


def _of_session(path: Path) -> dict[str, Any]:
    """The job of a session's recipe.json; empty for any other file."""
    folder = path.resolve().parent
    if path.name != "recipe.json" or len(folder.parents) < 3 or not is_session(folder):
        return {}
    root = folder.parents[2]
    return {"session": folder.name, "root": str(root)} if folder.parent == sessions_folder(root) else {}


def _known(kind: type, record: dict[str, Any]) -> dict[str, Any]:
    """The record without the names that are no settings, also inside nested ones."""
    hints = get_type_hints(kind)
    return {
        name: _known(hints[name], value) if is_dataclass(hints[name]) and isinstance(value, dict) else value
        for name, value in record.items()
        if name in hints
    }


def _sound(job: JobFile, wrong: list[str]) -> JobFile:
    """The job with what is of a wrong type left out, so that the rest of it can be looked at."""
    bad = {fault.split(" ", 1)[0].split(".", 1)[0] for fault in wrong}
    return replace(job, **{name: getattr(JobFile("cup"), name) for name in bad})


def _value_faults(job: JobFile, folder: Path) -> list[str]:
    """What cannot be done of a job whose values are of their types, a sentence each."""
    found = [f"there is no stage {one!r} ({meant(one, STAGES)}known are {', '.join(STAGES)})"
             for one in job.stages if one not in STAGES]  # fmt: skip
    if job.photos and not colab.in_colab() and not _seen_from(folder, job.photos).exists():
        found.append(f"there are no photos at {_seen_from(folder, job.photos)}")
    if job.hold_out < 0:
        found.append(f"hold_out is {job.hold_out}, below 0")
    if _is_no_model(job.base_model) and not _seen_from(folder, job.base_model).exists():
        found.append(
            f"there is no base model {job.base_model!r} ({meant(job.base_model, FAMILIES)}fsd families lists them)"
        )
    try:
        counting_up("pictures.images", job.pictures.images)
        check_name(job.session)
    except FsdError as fault:
        found.append(f"{fault.message} ({fault.hint})")
    return found + _setting_faults(job)


def _is_no_model(name: str) -> bool:
    """Whether a base model's name can only be that of a family, and is that of none."""
    return bool(name) and name not in FAMILIES and "/" not in name


def _setting_faults(job: JobFile) -> list[str]:
    """What is wrong with the job's settings of the recipe; what only the session knows is taken to be well."""
    found = [f"{name} stands among the settings: move it to the top of the file, beside session"
             for name in job.settings if name in _AT_THE_TOP]  # fmt: skip
    for name, value in flat(job.settings).items():
        try:
            Recipe().changed(**{name: value})
        except RecipeError as fault:
            found.append(f"{fault.message} ({fault.hint})")
    if found:
        return found
    named = job.family or family_of(job.base_model)
    try:
        family = get_family(named or Recipe.family)
    except FsdError as fault:
        return [f"{fault.message} ({fault.hint})"]
    resolution_px = (named and job.resolution_px) or family.native_px
    trial = Recipe(family=family.name, resolution_px=resolution_px, class_word="subject")
    return recipe_with(job, trial).faults()


def _seen_from(folder: Path, text: str) -> Path:
    return (folder / Path(text).expanduser()).resolve()


def _from_here(job: JobFile, folder: Path) -> JobFile:
    """The job with its paths made absolute: those that are there as seen from the file's folder."""

    def found(text: str) -> str:
        there = _seen_from(folder, text)
        return str(there) if text and there.exists() else text

    root = str(folder / Path(job.root).expanduser()) if job.root else ""
    return replace(job, photos=found(job.photos), base_model=found(job.base_model), root=root)
