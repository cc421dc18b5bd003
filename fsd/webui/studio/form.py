"""What the studio's form holds: its values as a job, with every fault in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsd.errors import RecipeError
from fsd.infotext import split_lora
from fsd.job import Control, Job, Lora
from fsd.webui.studio.pictures import opened
from fsd.webui.studio.sizes import size_px

Mode = Literal["txt2img", "img2img", "inpaint"]
Preprocessor = Literal["none", "canny", "invert"]
MODES: dict[str, Mode] = {"Text to image": "txt2img", "Image to image": "img2img", "Inpainting": "inpaint"}
OWN_SAMPLER = "Model's own"
LIMITS = {"steps": (1, 150), "guidance": (0, 30), "strength": (0, 1), "lora_weight": (-2, 2)}
"""What the sliders reach: as far as AUTOMATIC1111's."""


@dataclass(frozen=True)
class Form:
    """The form's values in the order of its fields, as the page gives them. Pictures are paths, None where there is none.

    painted: what the mask editor gives: a background and layers, each a path. prompt: LoRAs with weights of their own are
    named in it, <lora:NAME:WEIGHT>. control_mode: what a ControlNet for many tasks sees, empty for the preprocessor's.
    """

    model: str
    prompt: str
    negative: str
    mode: str
    init_image: str | None
    painted: dict[str, Any] | None
    mask: str | None
    strength: float
    sampler: str
    steps: float
    guidance: float
    size: str
    images: float
    seed: float | None
    loras: list[str]
    lora_weight: float
    control: str
    control_image: str | None
    preprocessor: Preprocessor
    control_weight: float
    control_mode: str | None

    def job(self, folder: Path) -> Job:
        """The job that the form describes; RecipeError naming what is missing. folder: where a painted mask is put."""
        if not (self.model or "").strip():
            raise RecipeError("no model is chosen", "choose one, or give a file, a folder or a link")
        width_px, height_px = size_px(self.size)
        init_image, mask = self._pictures(folder)
        prompt, named = split_lora(self.prompt or "")
        lora = [(path, _number("the LoRA's weight", self.lora_weight)) for path in self.loras or ()]
        return Job(
            model=self.model.strip(), prompt=prompt.strip(), negative=(self.negative or "").strip(), mode=MODES[self.mode],
            lora=tuple(Lora(path, weight) for path, weight in [*lora, *named]),
            steps=_whole("steps", self.steps), guidance=_number("guidance", self.guidance), seed=_seed(self.seed),
            width_px=width_px, height_px=height_px, sampler="" if self.sampler == OWN_SAMPLER else self.sampler or "",
            images=_whole("the number of pictures", self.images), init_image=init_image, mask=mask,
            strength=_number("strength", self.strength), controls=self._controls(),
        ).checked()  # fmt: skip

    def _pictures(self, folder: Path) -> tuple[str, str]:
        if MODES[self.mode] == "txt2img":
            return "", ""
        if MODES[self.mode] == "img2img":
            if not self.init_image:
                raise RecipeError("there is no picture to start from", "add one under Image to image")
            return self.init_image, ""
        painted = self.painted or {}
        if not painted.get("background"):
            raise RecipeError("there is no picture to paint in", "add one under Inpainting")
        mask = self.mask or painted_mask(painted.get("layers") or [], folder)
        if not mask:
            raise RecipeError("nothing is marked to be painted anew", "brush over a part of the picture, or add a mask")
        return str(painted["background"]), mask

    def _controls(self) -> tuple[Control, ...]:
        if not self.control:
            return ()
        if not self.control_image:
            raise RecipeError("the ControlNet has no picture to follow", "add one, or choose no ControlNet")
        weight = _number("the ControlNet's weight", self.control_weight)
        return (Control(self.control, self.control_image, weight, self.preprocessor, mode=self.control_mode or ""),)


def painted_mask(layers: list[str], folder: Path) -> str:
    """A mask PNG, white where something was painted on one of the layers; "" when nothing was."""
    from PIL import ImageChops

    mask: Any = None
    for layer in layers:
        with opened(layer) as image:
            alpha = image.convert("RGBA").getchannel("A").point(lambda level: 255 if level > 16 else 0)
        mask = ImageChops.lighter(mask, alpha) if mask and mask.size == alpha.size else mask or alpha
    if mask is None or mask.getbbox() is None:
        return ""
    mask.save(folder / "mask.png")
    return str(folder / "mask.png")


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != int(number):
        raise RecipeError(f"{name} is {number}, not a whole number", "change it")
    return int(number)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float):
        raise RecipeError(f"{name} is empty", "give a number")
    return float(value)


def _seed(value: float | None) -> int:
    return -1 if value is None else _whole("seed", value)
