"""What the Captions tab does to all captions, and the photos that were set aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from fsd.data.caption_bulk import AT_ONCE
from fsd.data.caption_editor import CaptionEditor
from fsd.webui.captions.cards import picture_html
from fsd.webui.captions.words import changed, counted
from fsd.webui.studio.words import careful

_MOST_ASIDE = 12


class ToolBox:
    """Find and replace, prefix, tags."""

    def __init__(self) -> None:
        with gr.Accordion("All captions", open=True, elem_id="all-captions"):
            with gr.Row():
                self.find = gr.Textbox(label="Find", elem_id="find", min_width=150)
                self.replace = gr.Textbox(label="Replace with", elem_id="replace", min_width=150)
                with gr.Column(scale=0, min_width=196):
                    self.regex = gr.Checkbox(label="Regular expression", elem_id="regex", container=False)
                self.go = gr.Button(
                    "Replace all", variant="primary", elem_id="replace-all", size="md", min_width=116, scale=0
                )
            self.count = gr.HTML(elem_id="found", padding=False)
            with gr.Row():
                with gr.Column(scale=3, min_width=300), gr.Row():
                    self.prefix = gr.Textbox(label="Words before every caption", elem_id="prefix", min_width=200)
                    self.add = gr.Button("Add to all", elem_id="add-prefix", size="md", min_width=100, scale=0)
                    self.take = gr.Button("Remove from all", elem_id="remove-prefix", size="md", min_width=150, scale=0)
                with gr.Column(scale=2, min_width=300), gr.Row():
                    self.tag = gr.Dropdown([], label="Tags", elem_id="tags", min_width=130)
                    self.drop = gr.Button("Drop everywhere", elem_id="drop-tag", size="md", min_width=150, scale=0)

    def drawn(self) -> list[Any]:
        """The components that `showing` fills."""
        return [self.prefix, self.tag]

    def showing(self, editor: CaptionEditor) -> list[Any]:
        """The common prefix and the tags, where reading all captions for them costs little."""
        if len(editor.names()) > AT_ONCE:
            return [gr.skip(), gr.skip()]
        common = editor.common_prefix()
        choices = [(f"{tag} · {count}", tag) for tag, count in editor.tags()]
        return [
            gr.update(placeholder=f"All begin with: {common}" if common else ""),
            gr.update(choices=choices, value=None),
        ]

    def wire(self, then: Callable[..., None]) -> None:
        """Have the buttons work on the session, and the page drawn anew."""
        found = self.find, self.replace, self.regex
        then(self.go.click, lambda editor, *asked: changed(editor.replace(*asked)), *found)
        then(self.add.click, lambda editor, words: changed(editor.add_prefix(words)), self.prefix)
        then(self.take.click, lambda editor, words: changed(editor.remove_prefix(words)), self.prefix)
        then(self.drop.click, lambda editor, tag: changed(editor.drop_tag(tag or "")), self.tag)

    def wire_count(self, editor_of: Callable[[str], CaptionEditor], session: Any) -> None:
        """Have it said how often something is found, before it is replaced."""

        def count(name: str, find: str, regex: bool) -> str:
            found = counted(editor_of(name).count(find, regex)) if name and find else ""
            return f"<span class='fsd-quiet'>{found}</span>"

        for asked in (self.find.change, self.find.blur, self.find.submit, self.regex.input):
            of = [session, self.find, self.regex]
            asked(careful(count), of, self.count, show_progress="hidden", trigger_mode="always_last")


class AsideBox:
    """The photos that were set aside; not there while there are none."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_id="aside") as self.box:
            self.pictures = gr.HTML(padding=False)
            with gr.Row():
                self.names = gr.Dropdown([], label="Set aside", multiselect=True, elem_id="aside-names", min_width=200)
                self.back = gr.Button("Bring back", elem_id="bring-back", size="md", min_width=110, scale=0)

    def drawn(self) -> list[Any]:
        """The components that `showing` fills."""
        return [self.box, self.pictures, self.names]

    def showing(self, editor: CaptionEditor) -> list[Any]:
        """What is set aside now."""
        photos = editor.aside()
        pictures = "".join(picture_html(path, note=path.name) for path in photos[:_MOST_ASIDE])
        choices = gr.update(choices=[path.name for path in photos], value=[])
        return [gr.update(visible=bool(photos)), f"<div class='fsd-wall'>{pictures}</div>", choices]

    def wire(self, then: Callable[..., None]) -> None:
        """Have the chosen ones brought back."""
        then(self.back.click, _bring, self.names)


def _bring(editor: CaptionEditor, names: list[str]) -> str:
    photos = editor.bring_back([path for path in editor.aside() if path.name in names])
    return f"{', '.join(path.name for path in photos)} back" if photos else "Choose what to bring back"
