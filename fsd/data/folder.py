"""What lies where in a session folder, and what its session.json says.

Sessions of the original suite (folders without session.json) open as they are; nothing of theirs is moved or rewritten.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsd.data.lock import need_folder, writing
from fsd.data.names import identifier_in, photo_files
from fsd.errors import SessionError
from fsd.recipe import Recipe, load_recipe
from fsd.runtime.files import is_temporary, write_json

FORMAT = 1
SUITE = "Fast-Dreambooth"
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
    loras = _Inside("loras")
    masks = _Inside("masks")
    photos_aside = _Inside("photos_aside")
    originals = _Inside("originals")

    @property
    def name(self) -> str:
        """The session's name, which is its folder's."""
        return self.folder.name

    def manifest(self) -> dict[str, Any]:
        """What session.json says; for a session of the original suite what it would say, without writing it."""
        return read_manifest(self.folder)

    def recipe(self) -> Recipe:
        """The saved recipe, else the defaults; for an original session with the identifier of its file names."""
        need_folder(self.folder)
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

    def lora_files(self) -> list[Path]:
        """The LoRA files in the session, sorted by name."""
        return sorted(self.loras.glob("*.safetensors"))

    def ckpt_files(self) -> list[Path]:
        """The single-file models in the session, sorted by name."""
        found = (p for p in self.folder.iterdir() if p.suffix in CKPT_SUFFIXES and not is_temporary(p))
        return sorted(path for path in found if path.is_file())


def is_session(folder: Path) -> bool:
    """Whether a folder holds a session, ours or one of the original suite."""
    if (folder / "session.json").is_file() or any((folder / f"{folder.name}{end}").is_file() for end in CKPT_SUFFIXES):
        return True
    return any((folder / mark).is_dir() for mark in ORIGINAL_MARKS)


def read_manifest(folder: Path, called: str = "") -> dict[str, Any]:
    """The checked content of session.json in a folder; for an original session what it would be.

    called: the session's name in errors (default: the folder's). SessionError when damaged or newer than this fsd.
    """
    path = folder / "session.json"
    if not path.is_file():
        return new_manifest(folder.name, original=not (folder / "recipe.json").is_file())
    mend = "delete that one file; everything else in the session stays"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise SessionError(f"{called or path} is damaged: {error!r}", mend) from None
    if type(version) is not int or version < 1:
        raise SessionError(f"{path} has the format {version!r}, not a number", mend)
    if version > FORMAT:
        newer = f"session {called or folder.name!r} has format {version}; this fsd knows formats up to {FORMAT}"
        raise SessionError(
            newer, "update fsd: run the setup cell again, or install its newest version as its README says"
        )
    return new_manifest(folder.name, original=False) | record


def new_manifest(name: str, original: bool) -> dict[str, Any]:
    """What a new session.json holds.

    prompts: what a photo without a caption file is called, "template" or (the original suite's way) "file name".
    caption_template, once captions are settled: the template by which caption files were written.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    prompts = "file name" if original else "template"
    settings = {"family": Recipe.family, "base_model": Recipe.base_model, "prompts": prompts, "original": original}
    return {"format": FORMAT, "name": name, "created": created} | settings
