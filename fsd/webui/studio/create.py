"""The Create tab: the form, the pictures being made, and what is done with them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from fsd.webui.engine import Engine, Picture, Progress
from fsd.webui.studio.fields import Fields, build_ask, build_settings
from fsd.webui.studio.form import Form
from fsd.webui.studio.pictures import facts_html
from fsd.webui.studio.words import asker, bar, careful, foreseen

_BETWEEN_PREVIEWS_S = 0.4


class CreateTab:
    """The tab, built inside a page. fields: the form. send_to: what the buttons of a picture do, wired by the page."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with gr.Row(elem_id="create"):
            with gr.Column(elem_id="ask"):
                ask = build_ask()
                with gr.Row(elem_id="go"):
                    self.generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=3, min_width=80)
                    self.stop = gr.Button(
                        "Stop", variant="stop", elem_id="stop", interactive=False, scale=1, min_width=80
                    )
                self.bar = gr.HTML(bar(), elem_id="bar-box", padding=False)
            with gr.Column(elem_id="made"):
                self.preview = gr.Image(
                    elem_id="preview", show_label=False, visible=False, interactive=False, buttons=[], format="jpeg"
                )
                self.pictures = gr.Gallery(
                    elem_id="pictures", show_label=False, preview=True, object_fit="contain", interactive=False,
                    buttons=["fullscreen"],
                )  # fmt: skip
                self.facts = gr.HTML(elem_classes="facts", elem_id="made-facts", padding=False)
                with gr.Row(visible=False, elem_id="made-buttons", elem_classes="picture-buttons") as self.buttons:
                    self.download = gr.DownloadButton("Download", size="sm", elem_id="download", min_width=80)
                    self.start_from = gr.Button("Image to image", size="sm", elem_id="start-from", min_width=80)
                    self.paint_in = gr.Button("Inpaint", size="sm", elem_id="paint-in", min_width=80)
            with gr.Column(elem_id="settings"):
                self.fields = Fields(**ask, **build_settings())
        self.made = gr.State([])
        self.chosen = gr.State("")
        self.last_seed = gr.State(-1)
        self._wire()

    def _wire(self) -> None:
        watched = [self.bar, self.preview, self.pictures, self.made, self.fields.seen, self.generate, self.stop]
        picked = [self.chosen, self.facts, self.buttons, self.download, self.last_seed]
        start = gr.on(
            [self.generate.click, self.fields.prompt.submit], self._run, self.fields.inputs(), watched,
            show_progress="hidden", concurrency_limit=8, api_visibility="private",
        )  # fmt: skip
        start.then(self._rest, self.made, [self.preview, self.generate, self.stop, *picked], show_progress="hidden")
        self.stop.click(self._stop, show_progress="hidden", concurrency_limit=8)
        self.pictures.select(careful(self._pick), self.made, picked, show_progress="hidden")
        self.fields.random.click(lambda: -1, None, self.fields.seed, show_progress="hidden")
        self.fields.reuse.click(lambda seed: seed, self.last_seed, self.fields.seed, show_progress="hidden")

    def _stop(self, request: gr.Request) -> None:
        """End what this page has asked for, whether it is being done or waits."""
        self.engine.cancel(asker(request, "create"))

    def _run(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Bar, preview, pictures, what was made, what ControlNets see, the two buttons: again and again while a job goes on."""
        made: list[tuple[str, str, int]] = []
        busy = gr.update(interactive=False), gr.update(interactive=True)
        seen = gr.update(visible=False, value=None)
        yield bar("starting"), gr.update(visible=False), gr.skip(), gr.skip(), seen, *busy  # the last pictures stay
        ended = ""
        try:
            with tempfile.TemporaryDirectory() as folder:
                last = 0.0
                job = Form(*values).job(Path(folder))
                for event in self.engine.run(job, asker(request, "create")):
                    if isinstance(event, Picture):
                        made.append((str(event.path), event.infotext, event.seed))
                        pictures = gr.update(value=[path for path, _, _ in made], selected_index=len(made) - 1)
                        yield gr.skip(), gr.update(visible=False), pictures, list(made), gr.skip(), *busy
                    elif time.monotonic() - last >= _BETWEEN_PREVIEWS_S or not event.preview or event.controls:
                        last = time.monotonic()
                        yield _step(event, bool(made), busy)
            ended = bar(_ended(len(made), job.images))
        except Exception as fault:  # raised, it would leave the page waiting: what follows a failed event is not done
            ended = bar(fault=foreseen(fault))
        kept = list(made) or gr.skip()
        yield ended, gr.update(visible=False), gr.update(visible=True), kept, gr.skip(), *busy

    def _rest(self, made: list[tuple[str, str, int]]) -> tuple[Any, ...]:
        """What the page shows once a job is over, however it ended: the last picture and buttons that can be pressed."""
        idle = gr.update(visible=False, value=None), gr.update(interactive=True), gr.update(interactive=False)
        return *idle, *_picked(made, len(made) - 1)

    def _pick(self, made: list[tuple[str, str, int]], event: gr.SelectData) -> tuple[Any, ...]:
        return _picked(made, int(event.index))


def _ended(made: int, asked: int) -> str:
    if made == asked:
        return f"{made} picture{'s' * (made != 1)}"
    return f"stopped, {made} of {asked} pictures" if made else "stopped"


def _picked(made: list[tuple[str, str, int]], index: int) -> tuple[Any, ...]:
    """Path, facts, buttons and download of a picture that was made, and the seed to use again."""
    if not 0 <= index < len(made):
        return gr.skip(), "", gr.update(visible=False), gr.skip(), gr.skip()
    path, infotext, seed = made[index]
    return path, facts_html(infotext), gr.update(visible=True), gr.update(value=path), seed


def _step(event: Progress, any_made: bool, busy: tuple[Any, Any]) -> tuple[Any, ...]:
    """What the page shows of a job that is at a step: the preview takes the place of pictures until there are some."""
    bar_now = bar(event.text, event.done, event.total)
    seen = gr.update(value=[str(path) for path in event.controls], visible=True) if event.controls else gr.skip()
    if event.preview is None or any_made:
        return bar_now, gr.skip(), gr.skip(), gr.skip(), seen, *busy
    preview = gr.update(value=str(event.preview), visible=True)
    return bar_now, preview, gr.update(visible=False), gr.skip(), seen, *busy
