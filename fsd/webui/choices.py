"""What there is to draw with: the sessions' checkpoints, the files in the web UI's folder, and the families."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fsd.data.session import Session, list_sessions
from fsd.errors import FsdError
from fsd.families import FAMILIES
from fsd.recipe import STAGES
from fsd.runtime.files import is_temporary
from fsd.weights.checkpoint import list_checkpoints

_MODEL_FILES = (".safetensors", ".ckpt")
_CONTROL_FILES = (".safetensors", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be asked for. spec: what a Job takes. title: for people. kind: "session", "file" or "family".

    family: a name in FAMILIES, "" where it is not known. path: the file or folder, None for a family.
    """

    spec: str
    title: str
    kind: str
    family: str = ""
    path: Path | None = None


def models(root: Path) -> list[ModelChoice]:
    """Sessions, last used first, each with its checkpoints, newest first, its base and its files; then files, then families."""
    sessions = sorted(list_sessions(root), key=_used, reverse=True)
    found = [choice for session in sessions for choice in _of_session(session)]
    folder = models_folder(root) / "Stable-diffusion"
    found += [ModelChoice(str(path), name, "file", path=path) for name, path in _places(folder, _MODEL_FILES)]
    return found + [ModelChoice(family.name, family.title, "family", family.name) for family in FAMILIES.values()]


def loras(root: Path) -> list[ModelChoice]:
    """LoRA files in the web UI's folder and those of sessions, also those that carry the name beside their CKPTs."""
    found = [
        ModelChoice(str(path), name, "file", path=path) for name, path in _places(_lora_folder(root), _MODEL_FILES)
    ]
    for session in list_sessions(root):
        paths = [*session.lora_files(), *(path for path in session.ckpt_files() if "lora" in path.name.lower())]
        found += [ModelChoice(str(path), f"{session.name}: {path.stem}", "session", path=path) for path in paths]
    return found


def controlnets(root: Path) -> list[ModelChoice]:
    """ControlNet files and Diffusers folders in the web UI's folder."""
    folder = models_folder(root) / "ControlNet"
    return [ModelChoice(str(path), name, "file", path=path) for name, path in _places(folder, _CONTROL_FILES)]


def models_folder(root: Path) -> Path:
    """Where the web UIs' models are kept, a folder for each kind."""
    return root / "WebUI" / "models"


def named(spec: str, among: list[ModelChoice]) -> ModelChoice | None:
    """The LoRA or ControlNet that a text names by its path or file name, with or without its ending and a [hash]; or None."""
    for asked in (spec.lower(), without_hash(spec).lower()):
        for choice in among:
            known = (choice.spec, choice.title, choice.path.name, choice.path.stem) if choice.path else ()
            if asked in (one.lower() for one in known):
                return choice
    return None


def without_hash(title: str) -> str:
    """A file's title as AUTOMATIC1111 and its extensions show it, less the " [d0a1b2c3]" at its end."""
    return re.sub(r" \[[0-9a-f]{8,64}\]$", "", title.strip())


def path_of(spec: str, among: list[ModelChoice]) -> str:
    """The path of a LoRA or ControlNet that is named so, else what was given, which may be a path of its own."""
    found = named(spec, among)
    return str(found.path) if found else os.path.expanduser(spec)


def _lora_folder(root: Path) -> Path:
    return models_folder(root) / "Lora"


def _of_session(session: Session) -> Iterator[ModelChoice]:
    try:
        recipe = session.recipe()
        family = recipe.family
    except FsdError:  # a damaged recipe: its files may still be good
        family = ""
    stages = [list_checkpoints(session.checkpoints, stage) for stage in reversed(STAGES)]
    if family and any(stages):
        yield ModelChoice(session.name, f"{session.name} (newest)", "session", family, session.folder)
        for path in (path for stage in stages for path in reversed(stage)):
            yield ModelChoice(f"{session.name}@{path.name}", f"{session.name}, {path.name}", "session", family, path)
        yield ModelChoice(f"{session.name}@base", f"{session.name} before training", "session", family, session.folder)
    for path in session.ckpt_files():
        if "lora" not in path.name.lower():
            yield ModelChoice(str(path), f"{session.name}: {path.name}", "file", family, path)


def _used(session: Session) -> float:
    return max((path.stat().st_mtime for path in (session.folder, session.checkpoints) if path.exists()), default=0.0)


def _places(folder: Path, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """(the name below `folder`, the path) of model files and Diffusers folders, sorted; not of files inside the latter."""
    if not folder.is_dir():
        return []
    found: list[Path] = []
    for path in sorted(folder.iterdir(), key=lambda one: one.name.lower()):
        if path.name.startswith(".") or is_temporary(path):
            continue
        if path.is_dir() and not any((path / name).is_file() for name in ("config.json", "model_index.json")):
            found += [inner for _, inner in _places(path, suffixes)]
        elif path.is_dir() or path.suffix in suffixes:
            found.append(path)
    return [(str(path.relative_to(folder)), path) for path in found]
