"""The fields of the Create tab, in the order in which `Form` takes their values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from fsd.families.preprocessors import PREPROCESSORS
from fsd.webui.studio.form import LIMITS, MODES, OWN_SAMPLER, Form

_BRUSH = ("#6366f1", 0.65)
"""Colour and opacity: what lies under a stroke can still be seen."""
_TASKS = [(task.replace("_", " "), task) for task in PREPROCESSORS]


@dataclass
class Fields:
    """The components: those of `Form` by the same names, then the buttons beside them and what they belong to."""

    model: gr.Dropdown
    prompt: gr.Textbox
    negative: gr.Textbox
    mode: gr.Radio
    init_image: gr.Image
    painted: gr.ImageEditor
    mask: gr.Image
    strength: gr.Slider
    sampler: gr.Dropdown
    steps: gr.Slider
    guidance: gr.Slider
    size: gr.Dropdown
    images: gr.Slider
    seed: gr.Number
    loras: gr.Dropdown
    lora_weight: gr.Slider
    control: gr.Dropdown
    control_image: gr.Image
    preprocessor: gr.Radio
    control_weight: gr.Slider
    control_mode: gr.Dropdown
    random: gr.Button
    reuse: gr.Button
    mask_box: gr.Accordion
    seen: gr.Gallery

    def inputs(self) -> list[Any]:
        """The components that `Form` takes, in its order."""
        return [getattr(self, item.name) for item in fields(Form)]


def build_ask() -> dict[str, Any]:
    """What is asked first: the model, how, and the prompt."""
    made: dict[str, Any] = {}
    made["model"] = gr.Dropdown(
        [], label="Model", allow_custom_value=True, elem_id="model", filterable=True,
        info="A session, a family, or the path or link of a model",
    )  # fmt: skip
    made["mode"] = mode = gr.Radio(
        list(MODES), value="Text to image", show_label=False, elem_id="mode", container=False
    )
    made["init_image"] = gr.Image(
        type="filepath", label="Picture to start from", sources=["upload", "clipboard"], visible=False, height=260,
        elem_id="init-image", buttons=[],
    )  # fmt: skip
    made["painted"] = gr.ImageEditor(
        type="filepath", format="png", label="Brush over what is to be painted anew", visible=False, layers=False,
        sources=["upload", "clipboard"], transforms=None, elem_id="painted", height=380, buttons=[],
        brush=gr.Brush(default_size=20, colors=[_BRUSH], default_color=_BRUSH, color_mode="fixed"),
    )  # fmt: skip
    with gr.Accordion("Mask from a file", open=False, visible=False, elem_id="mask-box") as made["mask_box"]:
        made["mask"] = gr.Image(
            type="filepath", label="White is painted anew", sources=["upload"], height=180, elem_id="mask", buttons=[]
        )
    made["strength"] = gr.Slider(
        *LIMITS["strength"], 0.6, step=0.05, label="Strength: how much is made anew", visible=False, elem_id="strength",
        buttons=[],
    )  # fmt: skip
    made["prompt"] = gr.Textbox(
        label="Prompt", lines=3, max_lines=8, elem_id="prompt", placeholder="What the picture shows"
    )
    made["negative"] = gr.Textbox(
        label="Negative prompt", lines=1, max_lines=4, elem_id="negative", placeholder="What it should not show"
    )
    following = [made[name] for name in ("init_image", "painted", "mask_box", "strength")]
    mode.change(for_mode, mode, following, **quietly(mode))
    return made


def build_settings() -> dict[str, Any]:
    """The rest: how it is made, LoRA and ControlNet."""
    made: dict[str, Any] = {}
    with gr.Group():
        with gr.Row():
            made["size"] = gr.Dropdown([], label="Size", allow_custom_value=True, elem_id="size", min_width=130)
            made["sampler"] = gr.Dropdown(
                [OWN_SAMPLER], value=OWN_SAMPLER, label="Sampler", elem_id="sampler", filterable=False, min_width=130
            )
        with gr.Row():
            made["steps"] = gr.Slider(
                *LIMITS["steps"], 25, step=1, label="Steps", elem_id="steps", min_width=130, buttons=[]
            )
            made["guidance"] = gr.Slider(
                *LIMITS["guidance"], 7, step=0.5, label="Guidance", elem_id="guidance", min_width=130, buttons=[]
            )
        made["images"] = gr.Slider(1, 16, 1, step=1, label="Pictures", elem_id="images", buttons=[])
        with gr.Row(elem_id="seed-row"):
            made["seed"] = gr.Number(
                -1, label="Seed (-1 draws one)", precision=0, elem_id="seed", min_width=110, scale=1
            )
            made["random"] = gr.Button("Random", size="sm", elem_id="random", min_width=64, scale=0)
            made["reuse"] = gr.Button("Reuse", size="sm", elem_id="reuse", min_width=64, scale=0)
    with gr.Accordion("LoRA", open=False, elem_id="lora-box"):
        made["loras"] = gr.Dropdown(
            [], label="Files", multiselect=True, allow_custom_value=True, elem_id="loras",
            info="Put yours into WebUI/models/Lora. For a weight of its own, name one in the prompt: `<lora:NAME:0.8>`",
        )  # fmt: skip
        made["lora_weight"] = gr.Slider(
            *LIMITS["lora_weight"], 1, step=0.05, label="Weight", elem_id="lora-weight", buttons=[]
        )
    with gr.Accordion("ControlNet", open=False, elem_id="control-box"):
        made["control"] = gr.Dropdown(
            [("None", "")], value="", label="Model", allow_custom_value=True, elem_id="control",
            info="`fsd controlnet add` brings one into WebUI/models/ControlNet. Those for SD 3.5: text to image alone",
        )  # fmt: skip
        made["control_image"] = gr.Image(
            type="filepath", label="Picture to follow", sources=["upload", "clipboard"], height=220,
            elem_id="control-image", buttons=[],
        )  # fmt: skip
        made["preprocessor"] = gr.Radio(
            [("As it is", "none"), ("Find edges", "canny"), ("Invert", "invert")], value="none", label="Preprocessor",
            elem_id="preprocessor",
        )  # fmt: skip
        made["control_mode"] = gr.Dropdown(
            [("Told by the preprocessor", ""), *_TASKS], value="", label="What the picture shows",
            elem_id="control-mode", visible=False,
        )  # fmt: skip
        made["control_weight"] = gr.Slider(0, 2, 1, step=0.05, label="Weight", elem_id="control-weight", buttons=[])
        made["seen"] = gr.Gallery(
            label="What the ControlNet sees", interactive=False, visible=False, height=220, object_fit="contain",
            buttons=[], elem_id="seen",
        )  # fmt: skip
    return made


def quietly(light: Any) -> dict[str, Any]:
    """The options of an event that shows no progress, on a component that is light to read.

    Gradio tells every component with a progress of each change of it, and reads the component's value then: a mask editor,
    or what holds one, would upload its picture dozens of times while another one is made.
    """
    return {"show_progress": "hidden", "show_progress_on": light}


def for_mode(mode: str) -> tuple[Any, ...]:
    """Which of picture, mask editor, mask file and strength are shown in a mode."""
    asked = MODES[mode]
    return tuple(
        gr.update(visible=seen) for seen in (asked == "img2img", *(asked == "inpaint",) * 2, asked != "txt2img")
    )
