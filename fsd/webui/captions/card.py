"""One photo of the page: its picture, its caption to be written in, what the prompt is like, and what can be done with it."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from fsd.data.caption_editor import Row
from fsd.webui.captions.cards import facts_html, prompt_of, row_picture
from fsd.webui.captions.pieces import button, classed, shown


class Card:
    """A place of the page, which shows one photo after another."""

    def __init__(self, view: Any) -> None:
        self._view, self._filling = view, False
        self._row: Row | None = None
        self._picture, self._facts = widgets.HTML(), widgets.HTML()
        self._text = classed(widgets.Textarea(continuous_update=False, rows=3), "fsd-text")
        self._text.observe(self._save, "value")
        self.box = classed(widgets.VBox([self._picture, self._text, self._facts, self._buttons()]), "fsd-card")

    def show(self, row: Row | None) -> None:
        """Show a photo, or nothing."""
        self._row = row
        shown(self.box, row is not None)
        if row is None:
            self._picture.value = ""
            return
        self._filling = True
        self._picture.value = row_picture(row)
        text, lost = self._view.unsaved.get(row.photo, row.caption), row.photo in self._view.unsaved
        self._text.value, self._text.placeholder = text, prompt_of(row) or "no caption"
        self._facts.value = facts_html(self._view.editor, row, fault="not saved yet" if lost else "")
        self._filling = False

    def _buttons(self) -> Any:
        doings = {
            "↺": ("Turn to the left", lambda: self._turn(3), True),
            "↻": ("Turn to the right", lambda: self._turn(1), True),
            "Crop": ("Choose the square that training sees", self._crop, False),
            "Set aside": ("Keep it from training, with its caption; nothing is deleted", self._aside, True),
        }
        made = []
        for word, (told, work, show) in doings.items():
            made.append(button(word, told))
            made[-1].on_click(self._view.doing(work, show))
        return classed(widgets.HBox(made), "fsd-doing")

    def _save(self, change: dict[str, Any]) -> None:
        if self._row is None or self._filling:
            return
        before, name = self._row, self._row.photo

        def save() -> str:
            self._view.unsaved[name] = change["new"]
            self._facts.value = facts_html(self._view.editor, before, fault="not saved yet")
            self._view.save_again()
            self._row = next(iter(self._view.editor.rows([name])), before)
            self._facts.value = facts_html(self._view.editor, self._row, saved="✓ saved")
            self._text.placeholder = prompt_of(self._row) or "no caption"
            self._view.history()
            self._view.tools.show()
            return f"{name} is saved"

        self._view.doing(save, show=False)()

    def _turn(self, quarters: int) -> str:
        assert self._row is not None
        return f"{self._view.editor.turn(self._row.photo, quarters)} is turned"

    def _crop(self) -> str:
        assert self._row is not None
        self._view.crop.open(self._row.photo)
        return "Drag the square; it is saved when you let go"

    def _aside(self) -> str:
        assert self._row is not None
        self._view.editor.set_aside([self._row.photo])
        return f"{self._row.photo} is set aside"
