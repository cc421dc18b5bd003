"""The Captions tab: a session's photos with their captions, edited in place, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from fsd.data.caption_editor import PAGE, CaptionEditor
from fsd.errors import SessionError
from fsd.webui.captions.cards import facts_html, prompt_of
from fsd.webui.captions.opening import open_editor
from fsd.webui.captions.words import undone
from fsd.webui.studio.caption_card import IN_TURN, CaptionCard, showing, told
from fsd.webui.studio.caption_crop import CropBox
from fsd.webui.studio.caption_tools import AsideBox, ToolBox
from fsd.webui.studio.session import find_session, session_names
from fsd.webui.studio.words import careful

_NO_SESSION = "There is no session yet. Add photos to one, then write their captions here."


class CaptionsTab:
    """The tab, built inside a page. root: the folder that holds the sessions."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._editors: dict[str, CaptionEditor] = {}
        self.none = gr.Markdown(_NO_SESSION, elem_classes="quiet", visible=False)
        with gr.Column(elem_id="captions", elem_classes="fsd-captions") as self.box:
            with gr.Row(elem_id="captions-head"):
                self.session = gr.Dropdown([], label="Session", elem_id="captions-session", min_width=180)
                self.filter = gr.Textbox(
                    label="Filter", placeholder="Words, a file name, or ~what is seen", elem_id="filter", min_width=180
                )
                self.undo = gr.Button("Undo", elem_id="undo", size="md", min_width=70, scale=0)
                self.redo = gr.Button("Redo", elem_id="redo", size="md", min_width=70, scale=0)
            self.said = gr.HTML(elem_id="said", padding=False)
            self.tools, self.crop = ToolBox(), CropBox()
            with gr.Row(elem_classes="fsd-grid"):
                self.cards = [CaptionCard() for _ in range(PAGE)]
            with gr.Row(elem_id="pages"):
                self.back = gr.Button("‹ Back", size="sm", min_width=70, scale=0)
                self.where = gr.HTML(padding=False, elem_id="where")
                self.on = gr.Button("Next ›", size="sm", min_width=70, scale=0)
            self.aside = AsideBox()
        self.first = gr.State(0)
        self._wire()

    def refresh(self, chosen: str | None, words: str, first: int) -> list[Any]:
        """The sessions there are with the chosen one's page: for `shown()`."""
        names = session_names(self._root)
        value = chosen if chosen in names else next(iter(names), None)
        self._editors.pop(value or "", None)  # what others did meanwhile, such as another base model
        page = self._page(value, words, first if value == chosen else 0)
        parts = gr.update(visible=not names), gr.update(visible=bool(names))
        return [gr.update(choices=names, value=value), *parts, *page]

    def asked(self) -> list[Any]:
        """The components that `refresh` reads."""
        return [self.session, self.filter, self.first]

    def shown(self) -> list[Any]:
        """The components that `refresh` fills."""
        return [self.session, self.none, self.box, *self._drawn()]

    def _drawn(self) -> list[Any]:
        cards = [part for card in self.cards for part in card.parts()]
        around = [self.said, self.undo, self.redo, self.where, self.back, self.on, self.first]
        return [*around, *self.tools.drawn(), *self.aside.drawn(), *cards]

    def _page(self, name: str | None, words: str, first: int, said: str = "") -> list[Any]:
        """What a page becomes, from what is on the disk."""
        editor = self._editor(name) if name else None
        if editor is None:
            return [gr.skip()] * len(self._drawn())
        editor.refresh()
        names = editor.names((words or "").strip())
        first = max(0, min(first, (len(names) - 1) // PAGE * PAGE))
        rows = editor.rows(names[first : first + PAGE])
        end, history = first + len(rows), editor.history
        steps = [("Undo", history.to_undo), ("Redo", history.to_redo)]
        cards = [showing(editor, rows[at] if at < len(rows) else None) for at in range(PAGE)]
        return [
            _said(said),
            *(gr.update(interactive=step is not None) for _, step in steps),
            f"<span class='fsd-quiet'>{first + bool(rows)}–{end} of {len(names)}</span>",
            gr.update(interactive=first > 0), gr.update(interactive=end < len(names)), first,
            *self.tools.showing(editor), *self.aside.showing(editor), *(part for card in cards for part in card),
        ]  # fmt: skip

    def _wire(self) -> None:
        every: list[Any] = [self.session, self.filter, self.first]

        def then(trigger: Any, work: Callable[..., str], *more: Any) -> None:
            """Have a button do something for the session, and draw the page anew."""
            trigger(careful(self._doing(work)), [*every, *more], self._drawn(), **IN_TURN)

        then(self.session.input, lambda editor: "")
        then(self.undo.click, lambda editor: undone("Undone", editor.undo()))
        then(self.redo.click, lambda editor: undone("Done again", editor.redo()))
        for button, step in ((self.back, -PAGE), (self.on, PAGE)):
            button.click(careful(self._turned(step)), every, self._drawn(), **IN_TURN)
        last_alone = IN_TURN | {"trigger_mode": "always_last"}
        self.filter.change(careful(self._turned(0)), every, self._drawn(), **last_alone)
        self.tools.wire(then)
        self.tools.wire_count(self._editor, self.session)
        self.aside.wire(then)
        self.crop.wire(self._photo, then)
        for card in self.cards:
            card.text.blur(
                careful(self._save),
                [card.photo, card.text],
                [card.facts, card.text, self.said, self.undo, self.redo],
                **IN_TURN,
            )
            then(card.left.click, lambda editor, which: f"{editor.turn(told(which)[1], 3)} is turned", card.photo)
            then(card.right.click, lambda editor, which: f"{editor.turn(told(which)[1], 1)} is turned", card.photo)
            then(card.aside.click, _set_aside, card.photo)
            self.crop.opened_by(card.crop, card.photo)

    def _doing(self, work: Callable[..., str]) -> Callable[..., list[Any]]:
        def done(name: str, words: str, first: int, *more: Any) -> list[Any]:
            return self._page(name, words, first, work(self._editor(name), *more))

        return done

    def _turned(self, step: int) -> Callable[..., list[Any]]:
        return lambda name, words, first: self._page(name, words, first + step)

    def _save(self, which: str, text: str) -> tuple[Any, ...]:
        """Save a caption whose field was left."""
        editor, photo = self._photo(which)
        before = next(iter(editor.rows([photo])), None)
        if before is None or " ".join((text or "").split()) == before.caption:
            return (gr.skip(),) * 5
        editor.edit(photo, text or "")
        row = next(iter(editor.rows([photo])), before)
        placed = gr.update(placeholder=prompt_of(row) or "no caption")
        can = gr.update(interactive=True), gr.update(interactive=False)
        return facts_html(editor, row, saved="✓ saved"), placed, _said(f"{photo} is saved"), *can

    def _photo(self, which: str) -> tuple[CaptionEditor, str]:
        session, photo = told(which)
        return self._editor(session), photo

    def _editor(self, name: str) -> CaptionEditor:
        if name not in self._editors:
            session = find_session(self._root, name)
            if session is None:
                raise SessionError(f"there is no session {name!r} any more", "choose another one")
            self._editors[name] = open_editor(session)
        return self._editors[name]


def _set_aside(editor: CaptionEditor, which: str) -> str:
    photo = told(which)[1]
    editor.set_aside([photo])
    return f"{photo} is set aside"


def _said(text: str) -> str:
    return f"<div class='fsd-said' role='status'>{escape(text)}</div>"
