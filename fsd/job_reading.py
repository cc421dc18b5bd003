"""A job file read: everything that is wrong with it is told at once, before anything is done."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from fsd.data.folder import is_session
from fsd.data.session import sessions_folder
from fsd.errors import RecipeError
from fsd.job_faults import AT_THE_TOP, seen_from, value_faults, with_usual_stages
from fsd.job_orders import JobFile
from fsd.recipe import Recipe
from fsd.settings import build, type_faults, unknown_names

_EXAMPLE = '{"session": "cup", "photos": "photos", "base_model": "sd15", "identifier": "sks", "class_word": "cup"}'


def read_job(path: Path) -> JobFile:
    """The job in a file; or, where that is a session's folder or its recipe.json, the job of going on with it as it stands.

    RecipeError naming all that is unknown, of a wrong type or impossible.
    """
    path = path / "recipe.json" if path.is_dir() else path
    record = _of_session(path) or _record(path)
    folder = path.resolve().parent
    faults = [] if record.get("session") else [f"it names no session, as in {_EXAMPLE}"]
    faults += [f"{what} ({hint})" for what, hint in unknown_names(JobFile, record)]
    known = {"session": "", **_known(JobFile, record)}
    wrong = type_faults(build(JobFile, known))
    sound: JobFile = build(JobFile, {"session": ""} | _without(known, [fault.split(" ", 1)[0] for fault in wrong]))
    sound = sound if "stages" in record else with_usual_stages(sound, folder)
    faults += [*wrong, *value_faults(sound, folder)]
    if faults:
        raise RecipeError(f"{path} cannot be used: {'; '.join(faults)}", "mend the file; nothing has been done yet")
    return _from_here(sound, folder)


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"there is no job at {path}", f"write one, such as {_EXAMPLE}") from None
    except (ValueError, OSError) as fault:
        raise RecipeError(f"{path} cannot be read as JSON: {fault}", "mend the file") from None
    if not isinstance(record, dict) or not record:
        raise RecipeError(f"{path} names no session", f"write a JSON object such as {_EXAMPLE}")
    if not record.get("session") and not record.keys() - {f.name for f in fields(Recipe)}:
        hint = f'put the name of a session at its top, and what is not of {", ".join(AT_THE_TOP)} into "settings"'
        raise RecipeError(f"{path} names no session: it is a recipe alone", f"{hint}: {_EXAMPLE[:-1]}, ...}}")
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


def _without(record: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The record without the settings of these dotted names, so that the rest of it can be looked at."""
    kept = {name: value for name, value in record.items() if name not in names}
    for name in names:
        outer, _, inner = name.partition(".")
        if inner:
            kept[outer] = _without(kept[outer], [inner])
    return kept


def _from_here(job: JobFile, folder: Path) -> JobFile:
    """The job with its paths made absolute: those that are there as seen from the file's folder."""

    def found(text: str) -> str:
        there = seen_from(folder, text)
        return str(there) if text and there.exists() else text

    root = str(folder / Path(job.root).expanduser()) if job.root else ""
    return replace(job, photos=found(job.photos), base_model=found(job.base_model), root=root)
