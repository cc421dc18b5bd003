"""The Training tab: how far a session is, its loss, and the samples of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from fsd.webui.studio.session import find_session, loss_plot, progress_text, sample_grids, session_names
from fsd.webui.studio.words import careful

_NO_SESSION = "There is no session yet. Its loss and its samples appear here once one is trained."


class TrainingTab:
    """The tab, built inside a page. root: the folder that holds the sessions."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.none = gr.Markdown(_NO_SESSION, elem_classes="quiet", visible=False)
        with gr.Column() as self.box:
            with gr.Row(elem_id="training-head"):
                self.session = gr.Dropdown([], label="Session", elem_id="training-session", scale=1, min_width=200)
                self.progress = gr.Markdown(elem_id="training-progress")
            self.loss = gr.Image(show_label=False, interactive=False, buttons=["fullscreen"], elem_id="loss")
            self.samples = gr.Gallery(
                show_label=False, columns=1, object_fit="contain", interactive=False, buttons=["fullscreen"],
                elem_id="samples", height="auto",
            )  # fmt: skip
        self.session.change(
            careful(self._show), self.session, [self.progress, self.loss, self.samples], show_progress="hidden"
        )

    def refresh(self, chosen: str | None) -> tuple[Any, ...]:
        """The sessions there are with what is new of the chosen one: for `shown()`."""
        names = session_names(self._root)
        value = chosen if chosen in names else next(iter(names), None)
        parts = gr.update(visible=not names), gr.update(visible=bool(names))
        return gr.update(choices=names, value=value), *parts, *self._show(value)

    def shown(self) -> list[Any]:
        """The components that `refresh` fills."""
        return [self.session, self.none, self.box, self.progress, self.loss, self.samples]

    def _show(self, name: str | None) -> tuple[Any, ...]:
        session = find_session(self._root, name or "")
        if session is None:
            return "", gr.update(visible=False), gr.update(visible=False)
        plot = _opened(loss_plot(session))
        grids = [(grid, name) for path, name in sample_grids(session) if (grid := _opened(path))]
        loss, samples = gr.update(value=plot, visible=plot is not None), gr.update(value=grids, visible=bool(grids))
        return progress_text(session), loss, samples


def _opened(path: Path | None) -> Any:
    """The picture in a file, so that the page gets a copy and the session's folder stays closed; None for none."""
    from PIL import Image

    try:
        return Image.open(path).convert("RGB") if path else None
    except (OSError, ValueError):
        return None
