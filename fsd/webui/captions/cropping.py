"""The panel in which a photo's square is dragged, or written as numbers."""

from __future__ import annotations

import uuid
from html import escape
from typing import Any

import ipywidgets as widgets

from fsd.data.crop import Crop
from fsd.webui.captions.cards import crop_html
from fsd.webui.captions.pieces import button, classed, field, row, shown
from fsd.webui.captions.words import dragged


class CropPanel:
    """Shut until a photo is opened in it."""

    def __init__(self, view: Any) -> None:
        self._view, self._photo, self._filling = view, "", False
        self._group = f"fsd-heard-{uuid.uuid4().hex[:8]}"
        self._title, self._picture = widgets.HTML(), widgets.HTML()
        self._heard = field("", "1px", "fsd-hidden", self._group)
        self._heard.observe(self._drag, "value")
        self._numbers = [classed(widgets.IntText(description=name), "fsd-number") for name in ("left", "top", "side")]
        for number in self._numbers:
            number.continuous_update = False
            number.observe(self._typed, "value")
        done = button("Done", "Shut the panel", "fsd-primary")
        done.on_click(lambda _: self.shut())
        parts = [self._title, self._picture, row(*self._numbers, done), self._heard]
        self.box = classed(widgets.VBox(parts), "fsd-panel")
        shown(self.box, False)

    def open(self, photo: str) -> None:
        """Show a photo with its square; one that has none yet gets it found."""
        crop = self._view.editor.crop(photo)
        self._photo = photo
        self._draw(crop, anew=True)
        shown(self.box, True)

    def shut(self) -> None:
        """Show no photo."""
        self._photo, self._picture.value = "", ""
        shown(self.box, False)

    def _draw(self, crop: Crop, anew: bool) -> None:
        """Show a square. anew: also in the picture, where a square that is being dragged is so already."""
        self._filling = True
        size = f"{crop.size[0]} × {crop.size[1]} px"
        self._title.value = f"<b>{escape(self._photo)}</b> <span class='fsd-quiet' style='display:inline'>{size}</span>"
        if anew:
            self._picture.value = crop_html(self._view.editor.path(self._photo), crop, self._group)
        for number, value in zip(self._numbers, crop.box, strict=True):
            number.value = value
        self._filling = False

    def _drag(self, change: dict[str, Any]) -> None:
        if self._photo and (box := dragged(change["new"])):
            self._set(box, anew=False)

    def _typed(self, _: Any) -> None:
        if self._photo and not self._filling:
            left, top, side = (int(number.value) for number in self._numbers)
            self._set((left, top, side), anew=True)

    def _set(self, box: tuple[int, int, int], anew: bool) -> None:
        def save() -> str:
            crop = self._view.editor.set_crop(self._photo, *box)
            self._draw(crop, anew)
            return f"The square of {self._photo} is saved"

        self._view.doing(save)()
