"""Pictures from a pipeline, by prompts and seeds, and the PNG files they are kept in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fsd.data.picture_file import FORMATS, UNREADABLE
from fsd.runtime import files, report

_PIXELS_AT_ONCE = {"cpu": 512 * 512, "cuda": 4 * 512 * 512}


@dataclass(frozen=True)
class Order:
    """One picture to make. seed: fixes its starting noise, whatever the model and whatever is made beside it."""

    prompt: str
    seed: int
    negative: str = ""


@dataclass(frozen=True)
class Sampling:
    """How pictures are made. guidance: classifier-free guidance scale; 1 or less turns it off."""

    steps: int
    guidance: float
    width_px: int
    height_px: int


def make_pictures(
    pipeline: Any, orders: Sequence[Order], sampling: Sampling, label: str = "pictures"
) -> Iterator[tuple[Order, Image.Image]]:
    """Each order with its picture (RGB, width_px x height_px), in turn, a few being made at once.

    The starting noise is drawn on the CPU from the order's seed alone.
    """
    import torch

    at_once = pictures_at_once(pipeline, sampling)
    with report.progress(label, len(orders) * sampling.steps) as bar:
        for start in range(0, len(orders), at_once):
            some = orders[start : start + at_once]
            with torch.inference_mode():
                made = pipeline(
                    prompt=[order.prompt for order in some],
                    negative_prompt=[order.negative for order in some],
                    generator=[torch.Generator().manual_seed(order.seed) for order in some],
                    num_inference_steps=sampling.steps,
                    guidance_scale=sampling.guidance,
                    width=sampling.width_px,
                    height=sampling.height_px,
                    callback_on_step_end=_counting(bar, len(some)),
                )
            yield from zip(some, made.images, strict=True)


def pictures_at_once(pipeline: Any, sampling: Sampling) -> int:
    """How many pictures `make_pictures` makes together: a function of the device and the size alone."""
    return max(1, _PIXELS_AT_ONCE.get(pipeline.device.type, 512 * 512) // (sampling.width_px * sampling.height_px))


def settings_text(order: Order, sampling: Sampling, sampler: str, model: str) -> str:
    """A picture's settings in the form that the web UI writes as `parameters` and reads back."""
    negative = f"\nNegative prompt: {order.negative}" if order.negative else ""
    return (
        f"{order.prompt}{negative}\nSteps: {sampling.steps}, Sampler: {sampler}, CFG scale: {sampling.guidance}, "
        f"Seed: {order.seed}, Size: {sampling.width_px}x{sampling.height_px}, Model: {model}"
    )


def sampler_name(pipeline: Any) -> str:
    """The scheduler's name as people know it: "DDIM", "PNDM"."""
    return type(pipeline.scheduler).__name__.removesuffix("Scheduler")


def save_png(image: Image.Image, path: Path, texts: Mapping[str, str] | None = None) -> None:
    """Write a PNG whole or not at all; texts: kept in the file by name, as its settings are under "parameters"."""
    text = PngInfo()
    for name, content in (texts or {}).items():
        text.add_text(name, content) if content.isascii() else text.add_itxt(name, content)
    with files.replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=text)


def saved_text(path: Path, name: str = "parameters") -> str:
    """A text in a PNG, by default its settings; empty when it has none of that name, or is no readable picture."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return str(image.info.get(name, ""))
    except UNREADABLE:
        return ""


def _counting(bar: Any, pictures: int) -> Any:
    def count(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        bar.update(min(pictures, bar.total - bar.n))
        return tensors

    return count
