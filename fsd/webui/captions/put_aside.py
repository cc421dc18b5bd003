"""The photos that were set aside, each with a button that brings it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets

from fsd.webui.captions.cards import picture_html
from fsd.webui.captions.pieces import button, classed, shown

MOST = 12


class AsideShelf:
    """Below the photos; not there while it is empty."""

    def __init__(self, view: Any) -> None:
        self._view, self._now = view, list[Path]()
        self._title = classed(widgets.HTML(), "fsd-shelf-title")
        self._grid = classed(widgets.Box(), "fsd-grid")
        self.box = classed(widgets.VBox([self._title, self._grid]), "fsd-shelf")

    def show(self) -> None:
        """Show what is set aside now."""
        photos = self._view.editor.aside()
        shown(self.box, bool(photos))
        if photos == self._now:
            return
        self._now = photos
        more = f", the first {MOST} are shown" if len(photos) > MOST else ""
        count = f"{len(photos)} photo{'s' * (len(photos) != 1)} kept from training"
        self._title.value = f"<h3>Set aside</h3><div class='fsd-quiet'>{count}, with all that is theirs{more}</div>"
        self._grid.children = [self._card(path) for path in photos[:MOST]]

    def _card(self, path: Path) -> Any:
        back = button("Bring back", f"Train with {path.name} again")
        back.on_click(self._view.doing(lambda: self._bring(path)))
        return classed(widgets.VBox([widgets.HTML(picture_html(path, note=path.name)), back]), "fsd-card")

    def _bring(self, path: Path) -> str:
        return f"{self._view.editor.bring_back([path])[0].name} is back"
