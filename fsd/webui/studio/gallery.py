"""The Gallery tab: every picture that was made, newest first, with its settings; a PNG from elsewhere tells its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from fsd.webui.studio.pictures import facts_html, list_pictures, opened, settings_of, thumbnail
from fsd.webui.studio.words import careful

PAGE = 24
_NONE_YET = "Pictures that you make appear here."


class GalleryTab:
    """The tab, built inside a page. outputs: where the pictures are; thumbnails: a folder for small copies.

    `infotext` holds the chosen picture's settings and `chosen` its path, for the page's buttons.
    """

    def __init__(self, outputs: Path, thumbnails: Path) -> None:
        self._outputs, self._thumbnails = outputs, thumbnails
        self.paths = gr.State([])
        self.count = gr.State(PAGE)
        self.chosen = gr.State("")
        self.infotext = gr.State("")
        with gr.Row(elem_id="shelf"):
            with gr.Column(elem_id="thumbs"):
                self.wall = gr.Gallery(
                    elem_id="wall", show_label=False, allow_preview=False, object_fit="cover", buttons=[],
                    interactive=False, height="auto",
                )  # fmt: skip
                self.empty = gr.Markdown(_NONE_YET, elem_classes="quiet")
                with gr.Row():
                    self.more = gr.Button("Show more", size="sm", visible=False, elem_id="more")
                    self.upload = gr.UploadButton(
                        "Read a PNG's settings", size="sm", file_types=[".png"], elem_id="read-png"
                    )
            with gr.Column(elem_id="chosen", visible=False) as self.details:
                self.picture = gr.Image(show_label=False, interactive=False, buttons=["fullscreen"], elem_id="big")
                self.facts = gr.HTML(elem_classes="facts", elem_id="chosen-facts", padding=False)
                self.use = gr.Button("Use these settings", variant="primary", elem_id="use")
                with gr.Row(elem_classes="picture-buttons"):
                    self.download = gr.DownloadButton("Download", size="sm", elem_id="download-chosen", min_width=80)
                    self.start_from = gr.Button("Image to image", size="sm", min_width=80)
                    self.paint_in = gr.Button("Inpaint", size="sm", min_width=80)
        self._wire()

    def _wire(self) -> None:
        self.more.click(lambda count: count + PAGE, self.count, self.count).then(
            careful(self.refresh), self.count, self.listed(), show_progress="hidden"
        )
        chosen = [self.details, self.picture, self.facts, self.use, self.download, self.chosen, self.infotext]
        into_view = "() => document.getElementById('chosen')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"
        self.wall.select(careful(self._pick), self.paths, chosen, show_progress="hidden").then(None, js=into_view)
        self.upload.upload(careful(self._read), self.upload, chosen, show_progress="hidden").then(None, js=into_view)

    def listed(self) -> list[Any]:
        """The components that `refresh` fills."""
        return [self.wall, self.paths, self.empty, self.more]

    def refresh(self, count: int) -> tuple[Any, ...]:
        """The newest `count` pictures as thumbnails, what they are copies of, and whether there are more."""
        found = list_pictures(self._outputs, count + 1)
        paths = found[:count]
        wall = gr.update(value=[str(thumbnail(path, self._thumbnails)) for path in paths], visible=bool(paths))
        return wall, [str(path) for path in paths], gr.update(visible=not paths), gr.update(visible=len(found) > count)

    def _pick(self, paths: list[str], event: gr.SelectData) -> tuple[Any, ...]:
        return self._details(paths[int(event.index)])

    def _read(self, file: str) -> tuple[Any, ...]:
        if not settings_of(file):
            raise gr.Error(
                "this PNG carries no settings: choose one made here or in AUTOMATIC1111", print_exception=False
            )
        return self._details(file)

    def _details(self, path: str) -> tuple[Any, ...]:
        with opened(path):  # it may be gone since the wall was drawn
            infotext = settings_of(path)
        facts = facts_html(infotext) or "<p class='quiet'>This picture carries no settings.</p>"
        usable = gr.update(interactive=bool(infotext))
        return gr.update(visible=True), path, facts, usable, gr.update(value=path), path, infotext
