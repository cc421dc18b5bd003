"""Concepts: several subjects of one session, each in a folder that is called as kohya's tools call it.

A folder `REPEATS_IDENTIFIER CLASS` ("10_zwx cat") in instance_images/ is a concept: its photos are called zwx cat and come ten
times an epoch; "zwx cat" comes once. Photos beside such folders are of the recipe's own identifier and class word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fsd.data.folder import Session
from fsd.data.names import is_plain, is_silent, photo_files, shortened
from fsd.errors import SessionError
from fsd.recipe import Recipe

MOST_REPEATS = 1000
_HINT = "call it REPEATS_IDENTIFIER CLASS, for example '10_zwx cat'"


@dataclass(frozen=True)
class Concept:
    """What the photos of a folder show. repeats: how often an epoch shows each of them."""

    identifier: str
    class_word: str
    repeats: int = 1

    @property
    def words(self) -> str:
        return f"{self.identifier} {self.class_word}".strip()

    @property
    def folder(self) -> str:
        """What its folder is called where fsd makes it."""
        return f"{self.repeats}_{self.words}"

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe as it speaks of this concept."""
        return replace(recipe, identifier=self.identifier, class_word=self.class_word)


def concept_named(name: str) -> Concept:
    """The concept that a folder of that name holds; SessionError when the name says nothing, or no folder can have it."""
    found = re.fullmatch(r"(?:([0-9]+)_)?(.*)", name, re.DOTALL) if isinstance(name, str) and is_plain(name) else None
    if not found:
        raise SessionError(f"{shortened(str(name))!r} cannot be the name of a concept's folder", _HINT)
    number, words = found[1] or "1", found[2].split()
    if not words or (not found[1] and name.strip().isdigit()):
        raise SessionError(f"the concept's folder {name!r} says nothing of what it shows", _HINT)
    repeats = int(number) if len(number) < 10 else MOST_REPEATS + 1
    if not 1 <= repeats <= MOST_REPEATS:
        fault = (
            f"the concept's folder {shortened(name)!r} asks for {shortened(number)} repeats, not 1 to {MOST_REPEATS}"
        )
        raise SessionError(fault, _HINT)
    return Concept(words[0], " ".join(words[1:]), repeats)


def numbered_folder(names: Iterable[str]) -> str:
    """What the last of some folders' names that is a concept's is called here; "" when none is.

    Elsewhere than in a session only a name with its number is one.
    """
    for name in reversed(list(names)):
        if re.match(r"[0-9]+_", name):
            try:
                return concept_named(name).folder
            except SessionError:  # as of a year's photos
                continue
    return ""


def folder_for(session: Session, name: str) -> str:
    """The folder that photos of a concept go into: without a number, the one that is there for its words."""
    wanted = concept_named(name)
    there = {concept.words: folder.name for folder, concept in _folders(session.instance_images).items()}
    return there.get(wanted.words, wanted.folder) if not re.match(r"[0-9]+_", name) else wanted.folder


def photos_of(folder: Path) -> list[Path]:
    """All photos in a folder of a session, those of its concepts too, sorted by file name.

    SessionError when a concept's folder says nothing, or photos of two folders have one name: all else goes by names.
    """
    places = [folder, *_folders(folder)]
    found = sorted((path for place in places for path in photo_files(place)), key=lambda path: path.name)
    first: dict[str, Path] = {}
    for path in found if len(places) > 1 else []:
        if (other := first.setdefault(path.stem.casefold(), path)).parent != path.parent:
            named = [str(one.relative_to(folder)) for one in (other, path)]
            hint = "rename one of them (add_photos, given the folders, does that by itself)"
            raise SessionError(f"{named[0]} and {named[1]} in {folder} have one name", hint)
    return found


def concept_of(session: Session, photo: Path) -> Concept | None:
    """The concept whose folder a photo of the session is in; None: of the recipe's own words."""
    is_own = photo.parent in (session.instance_images, session.held_out_images)
    return None if is_own else concept_named(photo.parent.name)


def recipes_of(session: Session, recipe: Recipe) -> list[Recipe]:
    """The recipe as it speaks of each subject that there are photos of, its own first; its own where there are none."""
    concepts = _folders(session.instance_images).values()
    own = [recipe] if photo_files(session.instance_images) or not concepts else []
    return own + [concept.recipe(recipe) for concept in concepts]


def class_prompts(recipes: Sequence[Recipe]) -> list[str]:
    """What class images show, in turn: every class there is, by the recipe's prompts of them. recipes: of each subject."""
    templates = recipes[0].prior.prompts or (recipes[0].caption_template,)
    classes = {one.class_word: replace(one, identifier="") for one in recipes}
    each = [one for word, one in classes.items() if word] or list(classes.values())
    return [one.prompt(text) for text in templates for one in (each if "{class}" in text else each[:1])]


def _folders(folder: Path) -> dict[Path, Concept]:
    """The folders of concepts in a folder, sorted by name; one without photos is none."""
    inner = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    inner = [path for path in inner if not (path.name.startswith(".") or is_silent(path.name))]
    return {path: concept_named(path.name) for path in sorted(inner) if photo_files(path)}
