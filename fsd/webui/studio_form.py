"""What the studio's form holds: its values as a job, what a model's family likes best, and settings put back into it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsd.data.session import Session, list_sessions
from fsd.errors import FsdError, RecipeError
from fsd.families import FAMILIES, family_from
from fsd.job import Control, Job, Lora
from fsd.webui.engine import ModelChoice

Mode = Literal["txt2img", "img2img", "inpaint"]
Preprocessor = Literal["none", "canny", "invert"]
MODES: dict[str, Mode] = {"Text to image": "txt2img", "Image to image": "img2img", "Inpainting": "inpaint"}
OWN_SAMPLER = "Model's own"
SHAPES = ((1, 1), (3, 4), (4, 3), (2, 3), (3, 2), (9, 16), (16, 9))
"""Sides of the sizes that are offered, width to height."""


@dataclass(frozen=True)
class Defaults:
    """What a model likes best. sizes: as offered, the first is its own. prompt: a session's own, "" otherwise."""

    steps: int
    guidance: float
    sizes: tuple[str, ...]
    prompt: str = ""


@dataclass(frozen=True)
class Form:
    """The form's values in the order of its fields, as the page gives them. Pictures are paths, None where there is none.

    painted: what the mask editor gives: a background and layers, each a path.
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

    def job(self, folder: Path) -> Job:
        """The job that the form describes; RecipeError naming what is missing. folder: where a painted mask is put."""
        if not (self.model or "").strip():
            raise RecipeError("no model is chosen", "choose one, or give a file, a folder or a link")
        width_px, height_px = size_px(self.size)
        init_image, mask = self._pictures(folder)
        return Job(
            model=self.model.strip(), prompt=self.prompt.strip(), negative=self.negative.strip(), mode=MODES[self.mode],
            lora=tuple(Lora(path, _number("the LoRA's weight", self.lora_weight)) for path in self.loras or ()),
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
        seen_as = self.preprocessor if self.preprocessor == "canny" else ""
        return (Control(self.control, self.control_image, weight, self.preprocessor, mode=seen_as),)


def defaults(choice: ModelChoice | None, root: Path) -> Defaults:
    """What a model likes best: a session's own size and prompt, otherwise its family's; of an unknown one, SD 1.5's."""
    known = FAMILIES.get(choice.family if choice else "") or FAMILIES["sd15"]
    session = _session(choice, root)
    own_px, prompt = known.native_px, ""
    if session:
        try:
            recipe = session.recipe()
            own_px, prompt = recipe.resolution_px, recipe.prompt()
        except FsdError:  # a session whose recipe is damaged says so when it is used
            pass
    return Defaults(known.sample_steps, known.guidance, sizes(own_px), prompt)


def choice_of(spec: str, choices: list[ModelChoice]) -> ModelChoice | None:
    """The choice that a spec names; one is made up for a path or a link that is not among them, None for no spec."""
    spec = (spec or "").strip()
    if not spec:
        return None
    return next((one for one in choices if one.spec == spec), None) or ModelChoice(spec, spec, "file", _family(spec))


def sizes(own_px: int) -> tuple[str, ...]:
    """Sizes of about own_px x own_px in several shapes, as texts; the first is square."""
    step = _step(own_px)
    found = []
    for width, height in SHAPES:
        scale = own_px / (width * height) ** 0.5
        found.append(size_text(*(_rounded(side * scale, step) for side in (width, height))))
    return tuple(dict.fromkeys(found))


def size_like(width_px: int, height_px: int, own: str) -> str:
    """A size of the shape of a picture and about the area of the size `own`, as text."""
    wide, high = size_px(own)
    scale, step = (wide * high / (width_px * height_px)) ** 0.5, _step(max(wide, high))
    return size_text(_rounded(width_px * scale, step), _rounded(height_px * scale, step))


def size_text(width_px: int, height_px: int) -> str:
    """A size as the form shows it."""
    return f"{width_px} × {height_px}"


def size_px(text: str) -> tuple[int, int]:
    """Width and height of a size such as "512 × 768"; RecipeError for anything else."""
    if match := re.fullmatch(r"\s*(\d{2,5})\s*[x×X*, ]\s*(\d{2,5})\s*", text or ""):
        return int(match[1]), int(match[2])
    raise RecipeError(f"the size is {text!r}", "give it as WIDTH x HEIGHT, such as 512 x 768")


def painted_mask(layers: list[str], folder: Path) -> str:
    """A mask PNG, white where something was painted on one of the layers; "" when nothing was."""
    from PIL import Image, ImageChops

    mask: Image.Image | None = None
    for layer in layers:
        with Image.open(layer) as opened:
            alpha = opened.convert("RGBA").getchannel("A").point(lambda level: 255 if level > 16 else 0)
        mask = ImageChops.lighter(mask, alpha) if mask and mask.size == alpha.size else mask or alpha
    if mask is None or mask.getbbox() is None:
        return ""
    mask.save(folder / "mask.png")
    return str(folder / "mask.png")


def _session(choice: ModelChoice | None, root: Path) -> Session | None:
    if choice is None or choice.kind != "session":
        return None
    name = choice.spec.partition("@")[0]
    return next((session for session in list_sessions(root) if session.name == name), None)


def _family(spec: str) -> str:
    """The family of a model that is not in the list, "" where it cannot be told without fetching it."""
    if spec in FAMILIES:
        return spec
    try:
        path = Path(spec).expanduser()
        if not path.exists():
            return family_from(spec)
        from fsd.weights.detect import detect

        return detect(path).family
    except (FsdError, OSError):  # what is wrong with it is said when it is used
        return ""


def _step(px: int) -> int:
    """What sides are multiples of: what every family can do, finer for small pictures."""
    return 64 if px >= 512 else 16 if px >= 256 else 8


def _rounded(side: float, step: int) -> int:
    return max(64, round(side / step) * step)


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
