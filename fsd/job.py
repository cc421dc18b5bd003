"""One order for pictures: the interface between the web pages and the process that draws, and the record of what was drawn."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from fsd.errors import RecipeError
from fsd.settings import build, drawing_faults, outside, type_faults

LARGEST_PX = 4096
MOST_PICTURES = 100


@dataclass(frozen=True)
class Lora:
    """A LoRA over the model. path: its file, or its name in the web UI's folder. weight: 1 is as it was trained."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True)
class Control:
    """A ControlNet. model: a Diffusers folder, a file, or its name in the web UI's folder. image: a file to follow.

    start, end: the part of the steps that it acts on, 0 to 1. mode: what a union ControlNet should see the picture as,
    a task ("canny", "depth", "softedge"...); others have but one. low, high: Canny's thresholds, 0 to 255.
    fit: the image is cut to the size's shape, or stretched to it.
    """

    model: str
    image: str
    weight: float = 1.0
    preprocessor: Literal["none", "canny", "invert"] = "none"
    start: float = 0.0
    end: float = 1.0
    mode: str = ""
    low: int = 100
    high: int = 200
    fit: Literal["crop", "stretch"] = "crop"


@dataclass(frozen=True)
class Job:
    """Pictures to make. Images are paths of files; None is what the model's family likes best.

    model: a session ("cup", "cup@unet-000300", "cup@base"), a family, a Diffusers folder, a model file or a link.
    seed: of the first picture, the next ones count up; -1 draws one. sampler: a name of SAMPLERS, "" the model's own.
    strength: how much of init_image is made anew, 0 to 1. mask: white is painted anew. mask_blur_px: its soft edge.
    mask_fill: what the masked area starts from, as it is or its surroundings' colours. mask_padding_px: paint only the
    masked area, enlarged, with that much around it; None paints the picture as a whole.
    fit: init_image is cut to the size's shape, or stretched to it.
    """

    model: str
    prompt: str = ""
    negative: str = ""
    mode: Literal["txt2img", "img2img", "inpaint"] = "txt2img"
    lora: tuple[Lora, ...] = ()
    steps: int | None = None
    guidance: float | None = None
    seed: int = -1
    width_px: int | None = None
    height_px: int | None = None
    sampler: str = ""
    images: int = 1
    init_image: str = ""
    mask: str = ""
    strength: float = 0.75
    mask_blur_px: int = 4
    mask_fill: Literal["original", "surroundings"] = "original"
    mask_padding_px: int | None = None
    controls: tuple[Control, ...] = ()
    fit: Literal["crop", "stretch"] = "crop"

    def checked(self) -> Job:
        """This job; RecipeError naming every fault at once if it cannot be done by any model."""
        if faults := _faults(self):
            raise RecipeError("these pictures cannot be made: " + "; ".join(faults), "change the settings")
        return self

    def to_json(self) -> str:
        """The job as one line of JSON; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        """The checked job in a JSON object; RecipeError naming what is unknown, of the wrong type or out of range."""
        try:
            record = json.loads(text)
            lora = tuple(build(Lora, one, "lora.") for one in record.pop("lora", ()))
            controls = tuple(build(Control, one, "controls.") for one in record.pop("controls", ()))
            job: Job = build(Job, record)
        except (ValueError, TypeError, AttributeError) as fault:
            raise RecipeError(f"the job is not what a job looks like: {fault}", "pass one JSON object") from None
        return replace(job, lora=lora, controls=controls).checked()


def _faults(job: Job) -> list[str]:
    found = type_faults(replace(job, lora=(), controls=()))
    for place, part in [*enumerate(job.lora), *enumerate(job.controls)]:
        found += type_faults(part, f"{type(part).__name__.lower()}[{place}].")
    return found or [*_value_faults(job), *_picture_faults(job)]


def _value_faults(job: Job) -> list[str]:
    found = [] if job.model else ["model is empty"]
    found += drawing_faults(job.steps, job.guidance, ())
    found += outside("images", job.images, 1, MOST_PICTURES) + outside("strength", job.strength, 0, 1)
    found += outside("width_px", job.width_px, 64, LARGEST_PX) + outside("height_px", job.height_px, 64, LARGEST_PX)
    found += outside("mask_blur_px", job.mask_blur_px, 0, 64) + outside("mask_padding_px", job.mask_padding_px, 0, 512)
    found += outside("seed", job.seed, -1, 2**63 - 1 - MOST_PICTURES)
    for lora in job.lora:
        found += outside(f"the weight of the LoRA {lora.path}", lora.weight, -10, 10)
    for control in job.controls:
        found += outside(f"the weight of {control.model}", control.weight, 0, 10)
        found += outside("a threshold", control.low, 0, 255) + outside("a threshold", control.high, 0, 255)
        if not 0 <= control.start < control.end <= 1:
            found.append(f"{control.model} acts from {control.start} to {control.end}, not a part of 0 to 1")
    return found


def _picture_faults(job: Job) -> list[str]:
    found = []
    if job.mode != "txt2img" and not job.init_image:
        found.append(f"{job.mode} needs an init_image")
    if job.mode == "inpaint" and not job.mask:
        found.append("inpaint needs a mask")
    found += [f"the ControlNet {control.model} needs an image" for control in job.controls if not control.image]
    found += ["a ControlNet has no model" for control in job.controls if not control.model]
    return found
