"""What AUTOMATIC1111's API is asked, field by field, with its defaults."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, field, fields
from typing import Any

from fsd.errors import RecipeError


class Refused(RecipeError):
    """A request that cannot be done. status: of HTTP. fields: (name, what is wrong with it)."""

    def __init__(self, status: int, message: str, wrong: list[tuple[str, str]] | None = None, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.fields = wrong or []


@dataclass(frozen=True)
class Txt2Img:
    """POST /sdapi/v1/txt2img. What is not listed is taken and has no effect; null stands for the default.

    width, height: None: what the model was made for (AUTOMATIC1111: 512).
    """

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    sampler_name: str = ""
    sampler_index: str = "Euler"
    scheduler: str = ""
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int | None = None
    height: int | None = None
    send_images: bool = True
    save_images: bool = False
    override_settings: dict[str, Any] = field(default_factory=dict)
    alwayson_scripts: dict[str, Any] = field(default_factory=dict)
    script_name: str = ""
    enable_hr: bool = False
    restore_faces: bool = False
    tiling: bool = False
    subseed_strength: float = 0.0
    refiner_checkpoint: str = ""


@dataclass(frozen=True)
class Img2Img(Txt2Img):
    """POST /sdapi/v1/img2img. Pictures are base64, with or without "data:image/png;base64," before it."""

    init_images: list[Any] = field(default_factory=list)
    mask: str = ""
    denoising_strength: float = 0.75
    mask_blur: int = 4
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    resize_mode: int = 0
    include_init_images: bool = False


_NOT_HERE = {
    "script_name": "scripts", "enable_hr": "the high-resolution pass", "restore_faces": "face restoration",
    "tiling": "tiling", "subseed_strength": "variation seeds", "refiner_checkpoint": "a refiner",
}  # fmt: skip


def read_request(kind: type, body: Any) -> Any:
    """The request in a JSON body; Refused with status 422 naming every field that is not what it should be."""
    if not isinstance(body, dict):
        raise Refused(422, "the request is not a JSON object", [("", "value is not a valid dict")])
    hints, values, wrong = typing.get_type_hints(kind), {}, []
    for one in fields(kind):
        if (value := body.get(one.name)) is None:
            continue
        try:
            values[one.name] = _as(hints[one.name], value)
        except (TypeError, ValueError, OverflowError):
            wrong.append((one.name, f"value is not a valid {_name(hints[one.name])}"))
    wrong += [
        (name, f"{what}: not in this web UI")
        for name, what in _NOT_HERE.items()
        if values.get(name) and values[name] != "None"
    ]
    if wrong:
        raise Refused(422, "; ".join(f"{name}: {fault}" for name, fault in wrong), wrong)
    return kind(**values)


def _as(hint: Any, value: Any) -> Any:
    """A JSON value as the hinted type; numbers may come as texts, as AUTOMATIC1111 takes them."""
    kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else typing.get_origin(hint) or hint
    if kind in (dict, list, str) and not isinstance(value, kind):
        raise TypeError
    if kind is bool and value in (True, False, "true", "false", "True", "False"):
        return value in (True, "true", "True")
    if kind is bool or (isinstance(value, bool) and kind is not int):
        raise TypeError
    if kind is int and float(value) != int(float(value)):
        raise ValueError
    return int(value) if kind is int and not isinstance(value, str) else kind(value)


def _name(hint: Any) -> str:
    kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else typing.get_origin(hint) or hint
    return {int: "integer", float: "float", str: "string", bool: "boolean"}.get(kind, kind.__name__)
