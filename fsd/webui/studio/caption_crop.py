"""The panel of the Captions tab in which a photo's square is dragged, or written as numbers."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from fsd.data.caption_editor import CaptionEditor
from fsd.webui.captions.cards import crop_html
from fsd.webui.captions.words import dragged
from fsd.webui.studio.caption_card import told
from fsd.webui.studio.words import careful

_GROUP = "fsd-heard"


class CropBox:
    """Shut until a photo is opened in it. photo: as a card says it."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_id="crop-box", elem_classes="fsd-panel") as self.box:
            self.title, self.picture = gr.HTML(padding=False), gr.HTML(padding=False)
            with gr.Row():
                self.numbers = [
                    gr.Number(label=name, precision=0, min_width=90, elem_id=f"crop-{name}")
                    for name in ("left", "top", "side")
                ]
                self.set = gr.Button("Set", size="md", min_width=70, scale=0)
                self.done = gr.Button("Done", variant="primary", size="md", min_width=70, scale=0, elem_id="crop-done")
            self.heard = gr.Textbox("", show_label=False, container=False, elem_classes=["fsd-hidden", _GROUP])
            self.photo = gr.Textbox("", visible=False)

    def opened_by(self, button: Any, photo: Any) -> None:
        """Have a card's button open the panel."""
        shown = [self.box, self.title, self.picture, *self.numbers, self.photo]
        button.click(careful(self._open), photo, shown, show_progress="hidden")

    def wire(self, find: Callable[[str], tuple[CaptionEditor, str]], then: Callable[..., None]) -> None:
        """Have what is dragged and written saved. find: the editor and the photo of a card."""
        self._find = find
        self.heard.change(careful(_numbers), self.heard, self.numbers, show_progress="hidden")
        then(self.heard.change, _dragged, self.photo, self.heard)
        then(self.set.click, _set, self.photo, *self.numbers)
        redrawn = [self.box, self.title, self.picture, *self.numbers, self.photo]
        self.set.click(careful(self._open), self.photo, redrawn, show_progress="hidden")
        self.done.click(lambda: gr.update(visible=False), None, self.box, show_progress="hidden")

    def _open(self, which: str) -> list[Any]:
        editor, photo = self._find(which)
        crop = editor.crop(photo)
        title = (
            f"<b>{escape(photo)}</b> <span class='fsd-quiet'>{crop.size[0]} × {crop.size[1]} px; drag the square</span>"
        )
        return [gr.update(visible=True), title, crop_html(editor.path(photo), crop, _GROUP), *crop.box, which]


def _numbers(heard: str) -> list[Any]:
    box = dragged(heard)
    return list(box) if box else [gr.skip()] * 3


def _dragged(editor: CaptionEditor, which: str, heard: str) -> str:
    box = dragged(heard)
    return _set(editor, which, *box) if box else ""


def _set(editor: CaptionEditor, which: str, *numbers: Any) -> str:
    photo, (left, top, side) = told(which)[1], (int(number or 0) for number in numbers)
    editor.set_crop(photo, left, top, side)
    return f"The square of {photo} is saved"
