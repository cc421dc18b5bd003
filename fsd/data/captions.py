"""Captions: written for every photo, and shown before training as the exact prompts with their tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fsd.data.concept import photos_of
from fsd.data.folder import Session
from fsd.data.lock import writing
from fsd.data.names import file_words
from fsd.data.prompt import caption_file, caption_path, prompt_of, read_caption
from fsd.errors import SessionError, WeightsError
from fsd.families import FAMILIES
from fsd.runtime.files import write_json, write_text

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
        raise SessionError(f"the caption mode {mode!r} is unknown", f"choose one of: {', '.join(MODES)}")
    written, kept = [], []
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
                write_text(caption_path(session, path.name), text + "\n")
                written.append(path.name)
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


def prompt_table(session: Session, tokenizer_folder: Path) -> list[PromptRow]:
    """A row for every instance image, sorted by name; the table is also kept in logs/prompts.txt.

    SessionError if there is no photo or a caption is no text.
    """
    paths = photos_of(session.instance_images)
    if not paths:
        raise SessionError(f"session {session.name!r} has no photos", "add photos first")
    tokenizer, recipe = _tokenizer(tokenizer_folder), session.recipe()
    most = FAMILIES[recipe.family].text_tokens
    rows = []
    for path in paths:
        prompt = prompt_of(session, path, recipe)
        name = prompt.concept.identifier if prompt.concept else recipe.identifier
        tokens, lost = _count(tokenizer, prompt.text, most)
        missing = name.lower() not in prompt.text.lower()
        notes = prompt.notes + ((f"the identifier {name!r} is not in this prompt",) if missing else ())
        folder = path.parent.name if prompt.concept else ""
        rows.append(PromptRow(path.name, prompt.text, tokens, tokens > most, lost, prompt.source, notes, folder))
    with writing(session):
        write_text(session.logs / "prompts.txt", prompt_table_text(rows) + "\n")
    return rows


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


def _count(tokenizer: Any, prompt: str, most: int) -> tuple[int, str]:
    """(tokens with start and end, the words from the first one on that is not read whole)."""
    encoding = tokenizer.encode(prompt)
    marks = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    content = [offset for offset, special in marks if not special]
    room = most - (len(encoding.ids) - len(content))
    if len(content) <= room:
        return len(encoding.ids), ""
    first = content[room][0]
    return len(encoding.ids), prompt[prompt.rfind(" ", 0, first + 1) + 1 :] if prompt[first] != " " else prompt[
        first + 1 :
    ]


def _tokenizer(folder: Path) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer folder, never cutting or padding."""
    try:
        if (folder / "tokenizer.json").is_file():
            from tokenizers import Tokenizer

            found = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            from transformers import CLIPTokenizer

            found = CLIPTokenizer.from_pretrained(folder).backend_tokenizer
    except Exception as error:  # tokenizers raises plain Exception
        raise WeightsError(
            f"{folder} holds no tokenizer that can be read: {error}", "choose the base model again"
        ) from None
    found.no_truncation()
    found.no_padding()
    return found
