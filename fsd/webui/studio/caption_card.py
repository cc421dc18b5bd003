"""One photo in the Captions tab: the components that show it, and what they show."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from fsd.data.caption_editor import CaptionEditor, Row
from fsd.webui.captions.cards import facts_html, prompt_of, row_picture

IN_TURN: dict[str, Any] = {
    "show_progress": "hidden", "trigger_mode": "multiple", "concurrency_limit": 1, "concurrency_id": "captions",
}  # fmt: skip
"""How the tab's events are answered: every one, also while another is under way, and in their order, so that a field that was
just left is saved before a page is drawn anew."""


class CaptionCard:
    """A place of the page. photo: hidden, of which session and photo the rest is; it travels with what is written."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_classes="fsd-card", min_width=240) as self.box:
            self.picture = gr.HTML(padding=False)
            self.text = gr.Textbox(lines=3, max_lines=6, show_label=False, container=False, elem_classes="fsd-text")
            self.facts = gr.HTML(padding=False)
            with gr.Row(elem_classes="fsd-doing"):
                self.left = gr.Button("↺", size="sm", min_width=36)
                self.right = gr.Button("↻", size="sm", min_width=36)
                self.crop = gr.Button("Crop", size="sm", min_width=60)
                self.aside = gr.Button("Set aside", size="sm", min_width=80)
            self.photo = gr.Textbox("", visible=False)

    def parts(self) -> list[Any]:
        """The components that `showing` fills."""
        return [self.box, self.picture, self.text, self.facts, self.photo]


def showing(editor: CaptionEditor, row: Row | None) -> list[Any]:
    """What a card's components become for a photo; None empties it."""
    if row is None:
        return [gr.update(visible=False), "", gr.update(value=""), "", ""]
    text = gr.update(value=row.caption, placeholder=prompt_of(row) or "no caption")
    return [gr.update(visible=True), row_picture(row), text, facts_html(editor, row), of(editor, row.photo)]


def of(editor: CaptionEditor, photo: str) -> str:
    """A photo and its session, as the hidden component of a card says them."""
    return json.dumps([editor.session.name, photo])


def told(which: str) -> tuple[str, str]:
    """(session, photo) as `of` wrote them."""
    session, photo = json.loads(which)
    return str(session), str(photo)
