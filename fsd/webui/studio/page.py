"""The studio's page: five tabs and what passes between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from fsd.webui.choices import path_of
from fsd.webui.engine import Engine
from fsd.webui.lock.paths import LOGOUT
from fsd.webui.studio.captions import CaptionsTab
from fsd.webui.studio.compare import CompareTab
from fsd.webui.studio.create import CreateTab
from fsd.webui.studio.fields import quietly
from fsd.webui.studio.filling import Filling, start_from
from fsd.webui.studio.gallery import GalleryTab
from fsd.webui.studio.look import TITLE
from fsd.webui.studio.pictures import opened
from fsd.webui.studio.sizes import size_like
from fsd.webui.studio.training import TrainingTab
from fsd.webui.studio.unions import reads_many
from fsd.webui.studio.words import careful

_COPIES_S = (3600, 2 * 86400)
"""Gradio's copies of what pages show are looked through every hour, and removed once they are two days old."""
_TOP = (
    f"<header id='top'><b>{TITLE}</b>"
    f"<form method='post' action='{LOGOUT}'><button id='log-out'>Log out</button></form></header>"
)


def build_page(engine: Engine, thumbnails: Path, first: str = "") -> gr.Blocks:
    """The page. thumbnails: a folder for small copies. first: the model chosen at the start, "" for the newest."""
    filling = Filling(engine, first)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=_COPIES_S) as page:
        gr.HTML(_TOP, padding=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Create", id="create"):
                create = CreateTab(engine)
            with gr.Tab("Gallery", id="gallery") as gallery_tab:
                gallery = GalleryTab(engine.outputs, thumbnails)
            with gr.Tab("Compare", id="compare") as compare_tab:
                compare = CompareTab(engine)
            with gr.Tab("Captions", id="captions-tab") as captions_tab:
                captions = CaptionsTab(engine.root)
            with gr.Tab("Training", id="training") as training_tab:
                training = TrainingTab(engine.root)
        form, model = create.fields.inputs(), create.fields.model
        hidden = quietly(create.bar)
        page.load(careful(filling.at_start), None, form, **hidden)
        model.input(careful(filling.for_model), model, form, **hidden)
        gallery_tab.select(careful(gallery.refresh), gallery.count, gallery.listed(), **hidden)
        compare_tab.select(
            careful(compare.refresh), compare.session, [compare.session, compare.none, compare.box], **hidden
        )
        captions_tab.select(careful(captions.refresh), captions.asked(), captions.shown(), **hidden)
        training_tab.select(careful(training.refresh), training.session, training.shown(), **hidden)
        back = {"fn": lambda: gr.update(selected="create"), "inputs": None, "outputs": tabs, **hidden}
        gallery.use.click(careful(filling.from_settings), gallery.infotext, form, **hidden).then(**back)
        _wire_pictures(create, gallery, back)
    return page


def _wire_pictures(create: CreateTab, gallery: GalleryTab, back: dict[str, Any]) -> None:
    """A picture as the start of another one: from the tab where it was made, from the gallery, from a file."""
    form, size = create.fields.inputs(), create.fields.size
    for tab in (create, gallery):
        for button, mode in ((tab.start_from, "Image to image"), (tab.paint_in, "Inpainting")):
            button.click(_starter(mode), [tab.chosen, size], form, **quietly(create.bar)).then(**back)
    control, seen_as = create.fields.control, create.fields.control_mode
    control.change(careful(_union_mode(create.engine)), control, seen_as, show_progress="hidden")
    create.fields.init_image.upload(careful(_like), [create.fields.init_image, size], size, show_progress="hidden")


def _starter(mode: str) -> Any:
    return careful(lambda path, size: start_from(path, mode, size))


def _union_mode(engine: Engine) -> Any:
    """Whether it is asked what the picture shows: a ControlNet for many tasks has to be told."""
    return lambda spec: gr.update(visible=bool(spec) and reads_many(path_of(spec, engine.controlnets())), value="")


def _like(path: str, size: str) -> str:
    with opened(path) as image:
        return size_like(*image.size, size)
