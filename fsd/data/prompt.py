"""A photo's exact prompt: from its caption file, the recipe's template or its file name."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from fsd.data.concept import Concept, concept_of, photos_of
from fsd.data.folder import Session
from fsd.data.names import file_words
from fsd.errors import SessionError
from fsd.recipe import Recipe

MAX_CAPTION_BYTES = 20_000


@dataclass(frozen=True)
class Prompt:
    """A photo's exact prompt. source: "caption", "template" or "file name". notes: what had to be cleaned.

    concept: what the photo shows; None: what the recipe's own words say.
    """

    text: str
    source: str
    notes: tuple[str, ...] = ()
    concept: Concept | None = None


def prompt_of(session: Session, photo: Path, recipe: Recipe | None = None, mode: str = "") -> Prompt:
    """The prompt of a photo of the session: its caption file verbatim, else by `mode` (default: the session's).

    {identifier} and {class} are filled in, with its concept's where it has one, and runs of blanks become one.
    SessionError if the caption file is no text.
    """
    recipe, concept = recipe or session.recipe(), concept_of(session, photo)
    recipe = concept.recipe(recipe) if concept else recipe
    notes: tuple[str, ...] = ()
    if path := caption_file(session, photo):
        text, notes = read_caption(path.read_bytes(), path.name)
        if text:
            return Prompt(recipe.prompt(text), "caption", notes, concept)
        notes = (f"{path.name} is empty and not used",)
    if (mode or session.manifest()["prompts"]) == "file name" and (words := file_words(photo.name)):
        return Prompt(words, "file name", notes, concept)
    return Prompt(recipe.prompt(), "template", notes, concept)


def caption_path(session: Session, photo: str) -> Path:
    """Where the caption of a photo is written."""
    return session.captions / f"{Path(photo).stem}.txt"


def caption_file(session: Session, photo: Path) -> Path | None:
    """The caption file of a photo that counts, also one that somebody put beside the instance images; None without one."""
    return next(iter(caption_files(session, photo)), None)


def caption_files(session: Session, photo: Path) -> list[Path]:
    """Every caption file of a photo, the one that counts first."""
    written = caption_path(session, photo.name)
    beside = session.instance_images / (photo.parent.name if concept_of(session, photo) else "") / written.name
    return [path for path in (written, beside) if path.is_file()]


def need_no_strays(session: Session) -> None:
    """SessionError naming the caption files that are of no photo: a photo is gone, or one of the names is mistyped."""
    training = photos_of(session.instance_images)
    photos = {path.stem for path in (*training, *photos_of(session.held_out_images))}
    folders = {session.captions, session.instance_images, *(path.parent for path in training)}
    there = [path for folder in folders for path in folder.glob("*.txt")]
    if strays := sorted({path.name for path in there if path.stem not in photos}):
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        fault = f"session {session.name!r} has captions without a photo of their name: {', '.join(strays[:3])}{more}"
        raise SessionError(fault, f"bring the photos back, or rename or delete these files in {session.captions}")


def read_caption(content: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """(text, notes) of a caption file in UTF-8, UTF-16 or Latin-1; control characters become blanks, and a note.

    SessionError when it is too long to be a caption.
    """
    if len(content) > MAX_CAPTION_BYTES:
        fault = f"{name} has {len(content)} bytes: not a caption (at most {MAX_CAPTION_BYTES})"
        raise SessionError(fault, "shorten it; 75 tokens, about 300 letters, are read")
    text, notes = _decoded(content, name)
    clean = "".join(character if _is_text(character) else " " for character in text)
    if clean != text:
        notes = (*notes, f"{name} had control characters; they became blanks")
    return " ".join(clean.split()), notes


def _decoded(content: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    even, odd = content[::2].count(0), content[1::2].count(0)
    wide = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    if not wide and max(even, odd) > len(content) // 4:
        wide = "utf-16-le" if odd > even else "utf-16-be"
    for encoding in filter(None, (wide, "utf-8-sig")):
        try:
            return content.decode(encoding), ()
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1"), (f"{name} is not UTF-8; it was read as Latin-1",)


def _is_text(character: str) -> bool:
    return character.isspace() or (unicodedata.category(character) != "Cc" and character != "\ufeff")
