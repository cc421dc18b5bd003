"""The model that a web UI is to open with: the trained session's, a path's, a link's or a family's, as one file it can load."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fsd.data import session as sessions
from fsd.data.session import Session
from fsd.errors import FsdError, RecipeError, SessionError, meant
from fsd.families import FAMILIES, family_from, get_family
from fsd.families.family import ModelFamily
from fsd.families.rules import need_web_ui
from fsd.recipe import STAGES
from fsd.runtime import report
from fsd.webui.desk import put
from fsd.webui.single_file import family_file, opens
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.base_model import REPOSITORY, find_base_model
from fsd.weights.checkpoint import list_checkpoints
from fsd.weights.detect import detect, require_model

SaveCkpt = Callable[[Session, str], Path]
"""Writes a session's trained model, at a saved step or "" for the newest, as one file."""


@dataclass(frozen=True)
class Chosen:
    """A model as people named it. family: None where nothing is chosen. path: its file or Diffusers folder, if it has one yet.

    session, step: of a trained model; step is "", a saved step or "base". base: what the family's base model is found by.
    """

    spec: str = ""
    family: ModelFamily | None = None
    path: Path | None = None
    session: Session | None = None
    step: str = ""
    base: str = ""

    @property
    def trains_lora(self) -> bool:
        """Whether it is a session's LoRA, which goes with its base model."""
        return self.session is not None and self.step != "base" and self.session.recipe().method == "lora"

    def need(self, web_ui: str) -> None:
        """RecipeError with the alternatives unless the web UI runs the model's family."""
        if self.family:
            need_web_ui(self.family, web_ui)


def find_model(spec: str, root: Path) -> Chosen:
    """What `spec` names: a session ("cup", "cup@unet-000500", "cup@base"), a path, a family, OWNER/NAME or a link.

    A hub repository or a link of a family that is not known by its name is fetched, to see what it is; files are only
    ever opened without running anything. RecipeError when it is none of these, WeightsError when it is no whole model.
    """
    if not spec:
        return Chosen()
    if found := _of_session(spec, root):
        return found
    if named := spec if spec in FAMILIES else family_from(spec):
        return Chosen(spec, FAMILIES[named], base=spec)
    path = Path(os.path.expanduser(spec))
    if os.path.isfile(path) or os.path.isdir(path):  # which, unlike Path's, take any text
        path, real = path.absolute(), path.resolve()  # a web UI runs in another folder
        return Chosen(str(path), family_of(path), real, base=str(real) if real.is_dir() else "")
    try:
        folder = find_base_model(spec)
    except RecipeError as fault:
        if REPOSITORY.fullmatch(spec):
            raise
        raise RecipeError(fault.message.replace("no base model", "no model"), _known(spec, root)) from None
    return Chosen(spec, family_of(folder), folder, base=spec)


def _of_session(spec: str, root: Path) -> Chosen | None:
    """The trained model that a session's name stands for; SessionError for a checkpoint that it has not."""
    name, _, step = spec.partition("@")
    session = next((one for one in sessions.list_sessions(root) if one.name in (spec, name)), None)
    if session is None:
        return None
    recipe, step = session.recipe(), "" if session.name == spec else step
    saved = [path.name for stage in reversed(STAGES) for path in reversed(list_checkpoints(session.checkpoints, stage))]
    files = [*session.ckpt_files(), *session.lora_files()]
    saved += [file.stem.removeprefix(f"{session.name}-") for file in files if file.stem != session.name]
    if step not in ("", "base", *saved):
        hint = f"it has: {', '.join([*dict.fromkeys(saved), 'base'])}"
        raise SessionError(f"session {session.name!r} has no checkpoint {step!r}", hint)
    return Chosen(spec, get_family(recipe.family), None, session, step, recipe.base_model or recipe.family)


def _known(spec: str, root: Path) -> str:
    """What a model may be called, the likeliest first."""
    names = [one.name for one in sessions.list_sessions(root)]
    trained, families = ", ".join(names) or "none yet", ", ".join(FAMILIES)
    likely = meant(spec, [*names, *FAMILIES])
    return f"{likely}name a session ({trained}), a path, a link, OWNER/NAME on the hub, or one of: {families}"


def family_of(path: Path) -> ModelFamily:
    """The family of a model file or folder; of several that it may be, the one that most web UIs run."""
    found = require_model(path)
    if found.family:
        return FAMILIES[found.family]
    fits = [one for one in FAMILIES.values() if (one.layout, one.inpainting) == (found.layout, found.inpainting)]
    fits = fits or [one for one in FAMILIES.values() if one.layout == found.layout]
    return max(fits, key=lambda family: len(family.web_uis))


def model_file(chosen: Chosen, folder: Path, dtype: str | None, save: SaveCkpt) -> Path:
    """The model as one file in the web UI's folder: a link where it can be, converted where it must be.

    dtype: of a folder that is converted, None as stored. save: called when a session has no CKPT of its newest checkpoint.
    """
    source = _session_file(chosen, save) if chosen.session and chosen.step != "base" else chosen.path
    if source and chosen.trains_lora:
        report.say(f"  its LoRA works where the prompt says <lora:{source.stem}:1>")
        source = None
    source = source or family_file(chosen.base) or find_base_model(chosen.base)
    if source.is_dir():
        stem = _stem(chosen.base if chosen.trains_lora else chosen.spec)
        made = _converted(source, folder, f"{stem}-{base_fingerprint(source)[:8]}", dtype)
    elif opens(source):
        made = put(source, folder, source.name)
    else:
        made = _converted(source, folder, source.stem, None)
    _write_sidecar(made, chosen)
    return made


def lora_files(session: Session, folder: Path) -> list[Path]:
    """The session's LoRAs, offered in the web UI's folder in the form that web UIs know; what cannot be read is passed over."""
    from fsd.weights.lora_file import convert_lora

    offered = []
    for file in [*session.lora_files(), *sorted(session.folder.glob("*.safetensors"))]:
        try:
            found = detect(file)
            if found.kind == "lora" and found.form == "kohya":
                offered.append(put(file, folder, file.name))
            elif found.kind == "lora":
                offered.append(convert_lora(file, folder / file.name, "kohya").path)
        except FsdError as fault:
            report.say(f"  {file.name} is not offered: {fault.message}")
    return offered


def _session_file(chosen: Chosen, save: SaveCkpt) -> Path:
    """The session's newest CKPT or LoRA; written first when there is none, or a checkpoint is younger."""
    session = chosen.session
    assert session is not None
    recipe = session.recipe()
    files = session.lora_files() if chosen.trains_lora else session.ckpt_files()
    trained = [path for stage in recipe.stages for path in list_checkpoints(session.checkpoints, stage)]
    if chosen.step:
        there = [file for file in files if file.stem == f"{session.name}-{chosen.step}"]
        return there[0] if there else save(session, chosen.step)
    found = files if chosen.trains_lora else [file for file in files if _is_model(file)]
    newest = max(found, key=_age, default=None)
    if trained and (newest is None or _age(newest) < max(_age(path / "checkpoint.json") for path in trained)):
        report.say(f"  writing the {'LoRA' if chosen.trains_lora else 'CKPT'} of session {session.name}")
        return save(session, "")
    if newest is None:
        hint = f"train it first, or name {session.name}@base to see the base model"
        raise SessionError(f"session {session.name!r} has no trained model yet", hint)
    return newest


def _age(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _is_model(file: Path) -> bool:
    try:
        return detect(file).kind == "model"
    except FsdError:
        return False


def _converted(source: Path, folder: Path, stem: str, dtype: str | None) -> Path:
    """`source` as one .safetensors in the folder, made once for these weights and this dtype."""
    from fsd.weights.convert import convert, source_bytes

    made = folder / f"{stem}{f'-{dtype}' if dtype else ''}.safetensors"
    if made.is_symlink():
        made.unlink()
    if not made.is_file() or (source.is_file() and _age(made) < _age(source)):
        with report.progress(made.name, source_bytes(source), unit="B") as bar:
            convert(source, made, dtype, tell=bar.update)
    return made


def _stem(spec: str) -> str:
    tail = spec.rstrip("/").rpartition("/")[2].partition("?")[0]
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in tail)[:60] or "model"


def _write_sidecar(file: Path, chosen: Chosen) -> None:
    """The .yaml that a web UI needs beside models that it cannot tell by their tensors."""
    from fsd.webui.sidecar import write_sidecar

    base = find_base_model(chosen.base) if chosen.base else None
    if chosen.family and (base or detect(file).family):  # one of another size, alone, says too little of itself
        write_sidecar(file, chosen.family, base)
