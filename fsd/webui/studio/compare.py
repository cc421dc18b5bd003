"""The Compare tab: what training changed, the base model's pictures beside the trained model's, from the same seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from fsd.errors import RecipeError
from fsd.job import Job
from fsd.webui.engine import Engine, Picture
from fsd.webui.studio.session import find_session, session_names
from fsd.webui.studio.words import asker, bar, careful, foreseen

_NO_SESSION = "There is no session yet. Train one, then compare it with its base model here."


class CompareTab:
    """The tab, built inside a page."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.none = gr.Markdown(_NO_SESSION, elem_classes="quiet", visible=False)
        with gr.Column(elem_id="compare") as self.box:
            with gr.Row():
                self.session = gr.Dropdown([], label="Session", elem_id="compare-session", min_width=160)
                self.images = gr.Slider(
                    1, 8, 2, step=1, label="Pairs", elem_id="pairs-count", min_width=130, buttons=[]
                )
                self.seed = gr.Number(0, label="First seed", precision=0, elem_id="compare-seed", min_width=110)
            self.prompt = gr.Textbox(label="Prompt", lines=2, max_lines=5, elem_id="compare-prompt")
            with gr.Row(elem_id="compare-buttons"):
                self.go = gr.Button("Compare", variant="primary", elem_id="compare-go", scale=3, min_width=80)
                self.stop = gr.Button("Stop", variant="stop", interactive=False, scale=1, min_width=80)
            self.bar = gr.HTML(bar(), padding=False)
            self.pairs = gr.Gallery(
                elem_id="pairs", show_label=False, columns=2, object_fit="contain", interactive=False, buttons=["fullscreen"],
                height="auto", visible=False,
            )  # fmt: skip
        self._wire()

    def _wire(self) -> None:
        asked = [self.session, self.prompt, self.images, self.seed]
        run = self.go.click(
            self._run, asked, [self.bar, self.pairs, self.go, self.stop], show_progress="hidden", concurrency_limit=8
        )
        idle = gr.update(interactive=True), gr.update(interactive=False)
        run.then(lambda: idle, None, [self.go, self.stop], show_progress="hidden")
        self.stop.click(self._stop, show_progress="hidden", concurrency_limit=8)
        self.session.change(careful(self._prompt), self.session, self.prompt, show_progress="hidden")

    def refresh(self, chosen: str | None) -> tuple[Any, ...]:
        """The sessions there are, and which parts of the tab are shown: for `self.session`, `self.none` and `self.box`."""
        names = session_names(self._engine.root)
        value = chosen if chosen in names else next(iter(names), None)
        return gr.update(choices=names, value=value), gr.update(visible=not names), gr.update(visible=bool(names))

    def _prompt(self, name: str | None) -> str:
        session = find_session(self._engine.root, name or "")
        return session.recipe().prompt() if session else ""

    def _stop(self, request: gr.Request) -> None:
        """End what this page has asked for, whether it is being done or waits."""
        self._engine.cancel(asker(request, "compare"))

    def _run(
        self, request: gr.Request, name: str | None, prompt: str, images: float, seed: float | None
    ) -> Iterator[tuple[Any, ...]]:
        """The bar, the pairs so far and the two buttons, again and again."""
        busy = gr.update(interactive=False), gr.update(interactive=True)
        made: dict[str, list[str]] = {"before": [], "after": []}
        try:
            if not name:
                raise RecipeError("no session is chosen", "choose one")
            for kind, model in (("before", f"{name}@base"), ("after", name)):
                job = Job(model, prompt.strip(), seed=int(seed or 0), images=int(images)).checked()
                for event in self._engine.run(job, asker(request, "compare")):
                    if isinstance(event, Picture):
                        made[kind].append(str(event.path))
                        yield bar(f"{kind} training"), _pairs(made, int(seed or 0)), *busy
                    else:
                        doing = event.text or f"{kind} training, step {event.done} of {event.total}"
                        yield bar(doing, event.done, event.total), gr.skip(), *busy
                if len(made[kind]) < int(images):  # stopped
                    break
        except Exception as fault:  # raised, it would leave the page waiting: what follows a failed event is not done
            yield bar(fault=foreseen(fault)), gr.skip(), *busy
            return
        whole = len(made["after"]) == int(images)
        yield (
            bar("base model on the left, trained on the right" if whole else "stopped"),
            _pairs(made, int(seed or 0)),
            *busy,
        )


def _pairs(made: dict[str, list[str]], seed: int) -> Any:
    """Before and after in turn, a row a seed; pairs that lack their second picture are left for later."""
    shown_now = []
    for place, before in enumerate(made["before"]):
        shown_now.append((before, f"before, seed {seed + place}"))
        if place < len(made["after"]):
            shown_now.append((made["after"][place], f"after, seed {seed + place}"))
        elif made["after"]:
            break
    return gr.update(value=shown_now, visible=True)
