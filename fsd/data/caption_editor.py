"""The caption editor without a view: rows by pages, changes of one or of all captions, each a step that can be undone.

Nothing is held but the photos' names: captions are read as they are needed, so that ten thousand photos open in a moment, and
what others write meanwhile is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from fsd.data import aside
from fsd.data.caption_bulk import AllCaptions
from fsd.data.caption_history import change_caption
from fsd.data.captions import PromptRow, prompt_row
from fsd.data.crop import Crop, find_crop, read_crops, set_box
from fsd.data.folder import Session
from fsd.data.history import new_step
from fsd.data.tokens import marks
from fsd.data.turning import turn_photo
from fsd.data.undoing import History
from fsd.families import FAMILIES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAGE = 12
TYPING_S = 30.0


@dataclass(frozen=True)
class Row:
    """A photo in the editor. caption: as its file says it, "" without one. prompt: what it gives; None when `fault` says why.

    crop: its square, where one is stored. held_out: kept from training.
    """

    photo: str
    path: Path
    caption: str
    prompt: PromptRow | None
    crop: Crop | None
    held_out: bool
    fault: str = ""


class CaptionEditor(AllCaptions):
    """The captions and photos of a session. tokenizer: of its base model, where it is at hand: it counts tokens.

    nearest: gives the photos that are nearest to words, the nearest first: those that "~words" finds.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer | None = None,
        nearest: Callable[[str], list[str]] | None = None,
    ) -> None:
        super().__init__(session)
        self._nearest = cache(nearest) if nearest else None
        self.tokenizer, self.history = tokenizer, History(session)
        self._typed = ("", "", 0.0)

    @property
    def most_tokens(self) -> int:
        """How many tokens of a prompt are read, without start and end: 75 of CLIP's."""
        most = FAMILIES[self.session.recipe().family].text_tokens
        return most - (marks(self.tokenizer) if self.tokenizer else 2)

    def names(self, having: str = "") -> list[str]:
        """The photos whose name or caption has a text in it; after a "~" those that show what the words say, best first."""
        words = having.removeprefix("~").strip()
        if words == having or not self._nearest:
            return super().names(having)
        return [name for name in self._nearest(words) if name in self._photos] if words else super().names()

    def rows(self, names: list[str]) -> list[Row]:
        """The rows of photos; those that are gone meanwhile are left out."""
        crops, recipe = read_crops(self.session), self.session.recipe()
        found = []
        for path in (self._photos[name] for name in names if name in self._photos):
            text, fault = self._text(path)
            held_out = self.session.held_out_images in path.parents
            row = None if fault else prompt_row(self.session, path, recipe, self.tokenizer)
            found.append(Row(path.name, path, text, row, crops.get(path.name), held_out, fault))
        return found

    def tokens(self, row: PromptRow) -> int:
        """The tokens of a prompt without start and end."""
        return max(0, row.tokens - marks(self.tokenizer)) if self.tokenizer else 0

    def edit(self, name: str, text: str) -> None:
        """Give a photo a caption; "" leaves it to the template. What is typed on without a long break is one step."""
        with self._turn:
            photo, step, at = self._typed
            last = self.history.to_undo
            if not (photo == name and last and last.name == step and monotonic() - at < TYPING_S):
                step = new_step()
            self._typed = name, step, monotonic()
            change_caption(self.session, self.path(name), text, "hand", step)

    def undo(self) -> list[str]:
        """Undo the last step; the photos that it was about, none when there is nothing to undo."""
        return self._again(self.history.undo)

    def redo(self) -> list[str]:
        """Do again what was undone last."""
        return self._again(self.history.redo)

    def set_aside(self, names: list[str]) -> list[Path]:
        """Set photos aside, in one step; they move to photos_aside/ with all that is theirs."""
        with self._turn:
            moved = aside.set_aside(self.session, [self.path(name) for name in names])
            self.refresh()
        return moved

    def aside(self) -> list[Path]:
        """The photos that were set aside."""
        return aside.photos_aside(self.session)

    def bring_back(self, photos: list[Path]) -> list[Path]:
        """Bring photos back that were set aside."""
        with self._turn:
            moved = aside.bring_back(self.session, photos)
            self.refresh()
        return moved

    def turn(self, name: str, quarters: int = 1) -> str:
        """Turn a photo clockwise; its name now."""
        with self._turn:
            path = turn_photo(self.session, self.path(name), quarters)
            self.refresh()
        return path.name

    def crop(self, name: str) -> Crop:
        """A photo's square, found where there is none yet."""
        with self._turn:
            return find_crop(self.session, self.path(name))

    def set_crop(self, name: str, left: int, top: int, side: int) -> Crop:
        """Fix a photo's square, in pixels of the upright photo."""
        with self._turn:
            return set_box(self.session, name, left, top, side)

    def _again(self, do: Callable[[], list[str]]) -> list[str]:
        with self._turn:
            done = do()
            self.refresh()
        return done
