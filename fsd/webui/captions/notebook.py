"""The caption editor in a notebook's cell, with the widgets of ipywidgets 7.7: it is what Colab has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import ipywidgets as widgets

from fsd.data.caption_editor import PAGE, CaptionEditor
from fsd.webui.captions.card import Card
from fsd.webui.captions.cropping import CropPanel
from fsd.webui.captions.look import NOTEBOOK_STYLE, STYLE
from fsd.webui.captions.pieces import button, classed, field, row, shown
from fsd.webui.captions.put_aside import AsideShelf
from fsd.webui.captions.script import SCRIPT
from fsd.webui.captions.tools import Tools
from fsd.webui.captions.words import sentence, undo_label, undone


class CaptionView:
    """The view. box: what is displayed; after it, `script` has to be."""

    def __init__(self, editor: CaptionEditor) -> None:
        self.editor = editor
        self.unsaved: dict[str, str] = {}
        self._names: list[str] = []
        self._first = 0
        self._cards = [Card(self) for _ in range(PAGE)]
        self._said = classed(widgets.HTML(), "fsd-said")
        self.tools, self.crop, self.shelf = Tools(self), CropPanel(self), AsideShelf(self)
        self._grid = classed(widgets.Box([card.box for card in self._cards]), "fsd-grid")
        self._empty = classed(widgets.HTML("<div class='fsd-empty'>No photo has this text.</div>"), "fsd-none")
        style = widgets.HTML(f"<style>{STYLE}{NOTEBOOK_STYLE}</style>", layout=widgets.Layout(display="none"))
        tops = [style, self._head(), self.tools.box, self.crop.box]
        parts = [*tops, self._empty, self._grid, self._foot(), self.shelf.box]
        self.box = classed(widgets.VBox(parts), "fsd-captions")
        self.search()

    @property
    def script(self) -> str:
        """The HTML that brings the script, for the cell's output: widgets do not run scripts."""
        return f"<script>{SCRIPT}</script>"

    def search(self, keep_place: bool = False) -> None:
        """Show the photos that have the filter's text, from the first page on."""
        self._names = self.editor.names(self._filter.value.strip())
        last = max(0, (len(self._names) - 1) // PAGE * PAGE)
        self._first = min(self._first, last) if keep_place else 0
        self.show()

    def filter(self, text: str) -> None:
        """Show the photos that have a text."""
        self._filter.value = text

    def show(self) -> None:
        """Draw the page anew, from what is on the disk."""
        names = self._names[self._first : self._first + PAGE]
        rows = self.editor.rows(names)
        for place, card in enumerate(self._cards):
            card.show(rows[place] if place < len(rows) else None)
        end, count = self._first + len(rows), len(self._names)
        shown(self._empty, not rows)
        self._where.value = f"<span class='fsd-quiet'>{self._first + bool(rows)}–{end} of {count}</span>"
        self._back.disabled, self._on.disabled = self._first == 0, end >= count
        self.history()
        self.tools.show()
        self.shelf.show()

    def history(self) -> None:
        """Tell what can be undone and redone."""
        history = self.editor.history
        for pressed, word, step in ((self._undo, "Undo", history.to_undo), (self._redo, "Redo", history.to_redo)):
            pressed.disabled, pressed.tooltip = step is None, undo_label(word, step)

    def say(self, text: str = "", fault: str = "") -> None:
        """One line for the user: what was done, or what went wrong."""
        mark = f"<span class='fsd-fault' role='alert'>{escape(fault)}</span>" if fault else escape(text)
        self._said.value = f"<div role='status'>{mark}</div>"

    def doing(self, work: Callable[..., str | None], show: bool = True) -> Callable[..., None]:
        """What a button does: work, whose line is said, then the page anew; of an error, its sentence."""

        def pressed(*_: Any) -> None:
            try:
                self.save_again()
                said = work() or ""
                if show:
                    self.search(keep_place=True)
                self.say(said)
            except Exception as fault:
                self.say(fault=sentence(fault))

        return pressed

    def save_again(self) -> None:
        """Save what could not be saved before, as on a disk that was full."""
        for name, text in list(self.unsaved.items()):
            self.editor.edit(name, text)
            del self.unsaved[name]

    def _head(self) -> Any:
        title = widgets.HTML(f"<h3>Captions of {escape(self.editor.session.name)}</h3>")
        self._filter = field("Words, a file name, or ~what is seen", "240px", "fsd-filter")
        self._filter.observe(self.doing(self.search, show=False), "value")
        self._undo, self._redo = button("Undo"), button("Redo")
        self._undo.on_click(self.doing(lambda: undone("Undone", self.editor.undo())))
        self._redo.on_click(self.doing(lambda: undone("Done again", self.editor.redo())))
        return classed(widgets.HBox([title, self._said, self._filter, self._undo, self._redo]), "fsd-head")

    def _foot(self) -> Any:
        self._back, self._on, self._where = (
            button("‹ Back", "The page before"),
            button("Next ›", "The next page"),
            widgets.HTML(),
        )
        for pressed, step in ((self._back, -PAGE), (self._on, PAGE)):
            pressed.on_click(self.doing(partial(self._page, step), show=False))
        return classed(row(self._back, self._where, self._on), "fsd-pages")

    def _page(self, step: int) -> None:
        self._first += step
        self.show()


def show_editor(editor: CaptionEditor) -> CaptionView:
    """Display the editor in the cell that runs."""
    from IPython.display import HTML, display

    view = CaptionView(editor)
    display(view.box)
    display(HTML(view.script))
    return view
