"""Captions: written for every photo, and shown before training as the exact prompts with their tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsd.data.caption_history import change_captions
from fsd.data.concept import photos_of
from fsd.data.folder import Session
from fsd.data.lock import writing
from fsd.data.names import file_words
from fsd.data.prompt import caption_file, prompt_of, read_caption
from fsd.data.tokens import count_tokens, open_tokenizer
from fsd.errors import SessionError
from fsd.families import FAMILIES
from fsd.recipe import Recipe
from fsd.runtime.files import write_json, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MODES = ("keep", "template", "file name")


@dataclass(frozen=True)
class CaptionReport:
    """What `write_captions` did. written: photos that got a caption file. kept: photos whose caption was left alone.

    rest: what photos without a caption file follow.
    """

    written: list[str]
    kept: list[str]
    rest: str

    def text(self) -> str:
        """The report as a line for a person."""
        done = f"{len(self.written)} captions written, {len(self.kept)} kept as they are"
        return f"{done}; photos without one follow {self.rest}"


def write_captions(session: Session, mode: str = "template", template: str = "") -> CaptionReport:
    """Give every instance image a caption file, to be edited by hand; a file that was edited stays as it is.

    mode: "template" writes the recipe's template with its places still open, so that the identifier can change;
    "file name" writes what the file name says; "keep" writes none. Photos added later follow the same mode.
    template: becomes the recipe's first, and what photos without a file follow; files that say what the template or
    the file name gave before are written anew.
    """
    if mode not in MODES:
        raise SessionError(f"the caption mode {mode!r} is unknown", f"choose one of: {', '.join((*MODES, 'blip2'))}")
    changes, kept = [], []
    with writing(session):
        recipe = session.recipe()
        if template:
            session.save_recipe(recipe.changed(caption_template=template))
        now, manifest = template or recipe.caption_template, session.manifest()
        before = manifest.get("caption_template", recipe.caption_template)
        rest = mode if mode != "keep" else "template" if template else manifest["prompts"]
        settled = {"prompts": rest, "caption_template": before if mode == "keep" else now}
        write_json(session.session_path, manifest | settled)
        for path in photos_of(session.instance_images):
            words, there = file_words(path.name), caption_file(session, path)
            text = words if words and mode == "file name" else now
            says = there and read_caption(there.read_bytes(), there.name)[0]
            made = {"", words, " ".join(str(before).split())}
            if there and (mode == "keep" or says not in made):
                kept.append(path.name)
            elif mode != "keep" and says != " ".join(text.split()):
                changes.append((path, text))
        written = change_captions(session, changes, mode)
    return CaptionReport(written, kept, "their file names" if rest == "file name" else f"the template {now!r}")


@dataclass(frozen=True)
class PromptRow:
    """One photo's prompt. tokens: with start and end. over: more than the text encoder reads; lost: the words cut off.

    source: "caption", "template" or "file name". notes: what the user should know, such as a missing identifier. concept:
    the name of the folder that the photo is in, "" for the recipe's own.
    """

    photo: str
    prompt: str
    tokens: int
    over: bool
    lost: str
    source: str
    notes: tuple[str, ...]
    concept: str = ""

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        return asdict(self) | {"notes": list(self.notes)}


def prompt_table(session: Session, tokenizer_folder: Path | None) -> list[PromptRow]:
    """A row for every instance image, sorted by name; the table is also kept in logs/prompts.txt.

    SessionError if there is no photo or a caption is no text.
    """
    paths = photos_of(session.instance_images)
    if not paths:
        raise SessionError(f"session {session.name!r} has no photos", "add photos first")
    tokenizer, recipe = open_tokenizer(tokenizer_folder) if tokenizer_folder else None, session.recipe()
    rows = [prompt_row(session, path, recipe, tokenizer) for path in paths]
    with writing(session):
        write_text(session.logs / "prompts.txt", prompt_table_text(rows) + "\n")
    return rows


def prompt_row(session: Session, path: Path, recipe: Recipe, tokenizer: Tokenizer | None) -> PromptRow:
    """The row of one photo; without a tokenizer of 0 tokens. SessionError if its caption is no text."""
    prompt, most = prompt_of(session, path, recipe), FAMILIES[recipe.family].text_tokens
    name = prompt.concept.identifier if prompt.concept else recipe.identifier
    tokens, lost = count_tokens(tokenizer, prompt.text, most) if tokenizer else (0, "")
    missing = name.lower() not in prompt.text.lower()
    notes = prompt.notes + ((f"the identifier {name!r} is not in this prompt",) if missing else ())
    folder = path.parent.name if prompt.concept else ""
    return PromptRow(path.name, prompt.text, tokens, tokens > most, lost, prompt.source, notes, folder)


def prompt_table_text(rows: list[PromptRow]) -> str:
    """The table as lines: photo, tokens, where the prompt is from, the prompt; warnings below their row.

    Where there are concepts, with theirs.
    """
    width = max([len(row.photo) for row in rows] + [5])
    wide = max(len(row.concept) for row in rows) if rows else 0
    wide = max(wide, len("concept")) + 2 if wide else 0
    lines = [f"{'photo':<{width}}  tokens  from       {'concept' if wide else '':<{wide}}prompt"]
    for row in rows:
        lines.append(f"{row.photo:<{width}}  {row.tokens:>6}  {row.source:<9}  {row.concept:<{wide}}{row.prompt}")
        told = [f"too long: {row.lost!r} is not read; shorten the caption"] if row.over else []
        lines += [f"{'':<{width}}       !  {note}" for note in (*told, *row.notes)]
    return "\n".join(lines)
