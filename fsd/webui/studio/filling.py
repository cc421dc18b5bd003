"""What is put into the form: the models there are, what a model likes best, settings of a picture, a picture itself."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import gradio as gr

from fsd.webui.engine import Engine, ModelChoice
from fsd.webui.studio.defaults import Defaults, choice_of, defaults
from fsd.webui.studio.form import MODES, OWN_SAMPLER, Form
from fsd.webui.studio.pictures import opened
from fsd.webui.studio.settings import form_values
from fsd.webui.studio.sizes import size_like

_NAMES = [item.name for item in fields(Form)]


class Filling:
    """Updates of the form's fields, in the order of `Form`. first: the model chosen at the start, "" for the newest."""

    def __init__(self, engine: Engine, first: str = "") -> None:
        self._engine, self._first = engine, first

    def at_start(self) -> list[Any]:
        """The form of a page that is opened: what can be chosen now, and a model with what it likes best."""
        choices = self._engine.models()
        chosen = choice_of(self._first, choices) or (choices[0] if choices else None)
        loras = [(one.title, one.spec) for one in self._engine.loras()]
        controls = [("None", ""), *((one.title, one.spec) for one in self._engine.controlnets())]
        updates = self._liked(chosen) | {
            "model": gr.update(choices=_titled(choices, chosen), value=chosen.spec if chosen else None),
            "loras": gr.update(choices=loras),
            "control": gr.update(choices=controls),
        }
        return in_order(updates)

    def for_model(self, spec: str) -> list[Any]:
        """What the model that was just chosen likes best; nothing for an empty name."""
        chosen = choice_of(spec, self._engine.models())
        return in_order(self._liked(chosen) if chosen else {})

    def from_settings(self, infotext: str) -> list[Any]:
        """The form as it was for a picture with these settings; what they do not say stays."""
        values = form_values(infotext, self._engine.models(), self._engine.loras())
        return in_order({name: gr.update(value=value) for name, value in values.items()})

    def _liked(self, chosen: ModelChoice | None) -> dict[str, Any]:
        liked: Defaults = defaults(chosen, self._engine.root)
        samplers = [OWN_SAMPLER, *self._engine.samplers(chosen.family if chosen else "")]
        placeholder = f"Such as: {liked.prompt}" if liked.prompt else "What the picture shows"
        return {
            "steps": gr.update(value=liked.steps),
            "guidance": gr.update(value=liked.guidance),
            "size": gr.update(choices=list(liked.sizes), value=liked.sizes[0]),
            "sampler": gr.update(choices=samplers, value=OWN_SAMPLER),
            "prompt": gr.update(placeholder=placeholder),
        }


def start_from(path: str, mode: str, size: str) -> list[Any]:
    """The form with a picture to start from: `mode` is one of MODES; the size takes the picture's shape.

    RecipeError for one that cannot be read.
    """
    with opened(path) as image:
        shape = size_like(*image.size, size)
    wanted = {"init_image": path} if MODES[mode] == "img2img" else {"painted": painted(path)}
    return in_order({name: gr.update(value=value) for name, value in {**wanted, "mode": mode, "size": shape}.items()})


def painted(path: str) -> dict[str, Any]:
    """The mask editor's value with this picture in it and nothing painted yet."""
    return {"background": path, "layers": [], "composite": path}


def in_order(updates: dict[str, Any]) -> list[Any]:
    """An update for each of the form's fields; those not named stay as they are."""
    return [updates.get(name, gr.skip()) for name in _NAMES]


def _titled(choices: list[ModelChoice], chosen: ModelChoice | None) -> list[tuple[str, str]]:
    listed = [*choices, chosen] if chosen and chosen not in choices else choices
    return [(one.title, one.spec) for one in listed]
