"""A session: one folder with everything about one subject, from its photos to its CKPT.

Sessions of the original suite (folders without session.json) open as they are; nothing of theirs is moved or rewritten.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fsd.data.lock import writing
from fsd.data.names import check_name, identifier_in, photo_files
from fsd.errors import SessionError
from fsd.recipe import Recipe, load_recipe
from fsd.runtime.files import is_temporary, write_json

FORMAT = 1
SUITE = "Fast-Dreambooth"
FOLDERS = ("instance_images", "held_out_images", "captions", "class_images", "checkpoints", "samples", "logs")
ORIGINAL_MARKS = ("instance_images", "captions", "concept_images")
CKPT_SUFFIXES = (".safetensors", ".ckpt")


class _Inside:
    """A path inside the session folder, as an attribute."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, session: Session, kind: type | None = None) -> Path:
        return session.folder / self.name


@dataclass(frozen=True)
class Session:
    """Where everything of one subject lies. folder: ROOT/Fast-Dreambooth/Sessions/NAME."""

    folder: Path

    session_path = _Inside("session.json")
    recipe_path = _Inside("recipe.json")
    crops_path = _Inside("crops.json")
    instance_images = _Inside("instance_images")
    held_out_images = _Inside("held_out_images")
    captions = _Inside("captions")
    class_images = _Inside("class_images")
    concept_images = _Inside("concept_images")
    cache = _Inside("cache")
    checkpoints = _Inside("checkpoints")
    samples = _Inside("samples")
    logs = _Inside("logs")

    @property
    def name(self) -> str:
        """The session's name, which is its folder's."""
        return self.folder.name

    def manifest(self) -> dict[str, Any]:
        """What session.json says; for a session of the original suite what it would say, without writing it."""
        return read_manifest(self.folder)

    def recipe(self) -> Recipe:
        """The saved recipe, else the defaults; for an original session with the identifier of its file names."""
        if self.recipe_path.exists():
            return load_recipe(self.recipe_path)
        found = identifier_in([path.name for path in photo_files(self.instance_images)])
        return Recipe(identifier=found) if found and self.manifest()["original"] else Recipe()

    def save_recipe(self, recipe: Recipe) -> None:
        """Write recipe.json whole or not at all; RecipeError naming every fault."""
        record = recipe.checked().to_json()
        with writing(self):
            write_json(self.recipe_path, record)
            shown = {"family": recipe.family, "base_model": recipe.base_model}
            write_json(self.session_path, self.manifest() | shown)

    def adopt(self) -> None:
        """Give a session of the original suite its session.json: done by its first writer."""
        if not self.session_path.exists():
            write_json(self.session_path, self.manifest())

    def ckpt_files(self) -> list[Path]:
        """The single-file models in the session, sorted by name."""
        return sorted(p for p in self.folder.iterdir() if p.suffix in CKPT_SUFFIXES and not is_temporary(p))


def sessions_folder(root: Path | str) -> Path:
    """Where the sessions below `root` (a Drive folder or any other) lie."""
    return Path(root).expanduser().absolute() / SUITE / "Sessions"


def create(root: Path | str, name: str) -> Session:
    """A new, empty session; SessionError if the name is bad or taken, or the place above `root` is missing."""
    folder = sessions_folder(root) / check_name(name)
    if folder.exists():
        raise SessionError(f"there is already a session {name!r} in {folder.parent}", "open it, or choose another name")
    check_root(root)
    return _make(folder)


def open_session(root: Path | str, name: str, create: bool = False) -> Session:
    """The session of that name, also of the original suite; SessionError if there is none, unless `create`."""
    folder = sessions_folder(root) / check_name(name)
    if folder.is_dir():
        return open_session_folder(folder)
    if create:
        check_root(root)
        return _make(folder)
    names = [session.name for session in list_sessions(root)]
    close = get_close_matches(name, names, n=1)
    known = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}" if names else "create it first"
    raise SessionError(f"there is no session {name!r} in {folder.parent}", known)


def _make(folder: Path) -> Session:
    try:
        for part in FOLDERS:
            (folder / part).mkdir(parents=True, exist_ok=True)
        write_json(folder / "session.json", _new_manifest(folder.name, original=False))
    except OSError as fault:
        raise SessionError(f"session {folder.name!r} cannot be made: {fault}", "check permissions and space") from None
    return Session(folder)


def open_session_folder(folder: Path | str) -> Session:
    """The session in a folder; SessionError if the folder holds none or one of a newer format."""
    folder = Path(folder).expanduser().absolute()
    if not folder.is_dir():
        raise SessionError(f"there is no folder {folder}", "check the path")
    if not is_session(folder):
        raise SessionError(f"{folder} is no session: it has no session.json and no instance_images", "check the path")
    read_manifest(folder)
    return Session(folder)


def is_session(folder: Path) -> bool:
    """Whether a folder holds a session, ours or one of the original suite."""
    if (folder / "session.json").is_file() or any((folder / f"{folder.name}{end}").is_file() for end in CKPT_SUFFIXES):
        return True
    return any((folder / mark).is_dir() for mark in ORIGINAL_MARKS)


def list_sessions(root: Path | str) -> list[Session]:
    """Every session below `root`, sorted by name; empty when there is none."""
    folder = sessions_folder(root)
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [Session(path) for path in sorted(found) if is_session(path)]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The checked content of session.json in a folder; for an original session what it would be."""
    path = folder / "session.json"
    if not path.is_file():
        return _new_manifest(folder.name, original=not (folder / "recipe.json").is_file())
    mend = "delete that one file; everything else in the session stays"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise SessionError(f"{path} is damaged: {error!r}", mend) from None
    if type(version) is not int or version < 1:
        raise SessionError(f"{path} has the format {version!r}, not a number", mend)
    if version > FORMAT:
        newer = f"session {folder.name!r} has format {version}; this fsd knows formats up to {FORMAT}"
        raise SessionError(newer, "update fsd: run the setup cell again, or pip install -U fsd")
    return _new_manifest(folder.name, original=False) | record | {"name": folder.name}


def check_root(root: Path | str) -> None:
    """SessionError unless `root` is a folder or can become one: a Drive that is not mounted is not papered over."""
    root = Path(root).expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise SessionError(f"{root} is a file, not a folder", "give the folder that the sessions are to lie in")
    if not root.exists() and not root.parent.is_dir():
        raise SessionError(f"there is no folder {root.parent}", "mount Drive first, or give a folder that exists")


def _new_manifest(name: str, original: bool) -> dict[str, Any]:
    """prompts: what a photo without a caption file is called, "template" or (the original's way) "file name"."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    prompts = "file name" if original else "template"
    settings = {"family": Recipe.family, "base_model": Recipe.base_model, "prompts": prompts, "original": original}
    return {"format": FORMAT, "name": name, "created": created} | settings
