"""A job done: the pipeline that it needs, its pictures in batches, and their settings in words."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from fsd.errors import Interrupted, RecipeError
from fsd.families.samplers import get_sampler
from fsd.generate import images
from fsd.generate.canvas import Canvas, make_canvas, read_picture, size_like
from fsd.generate.controls import control_arguments, controlnets, is_union, preprocessed
from fsd.generate.images import Sampling, pictures_at_once
from fsd.generate.merging import merge
from fsd.generate.opening import Opened
from fsd.generate.pipelines import accepted, build_pipeline
from fsd.generate.placing import place_beside, set_tiling
from fsd.generate.settings_text import settings_text
from fsd.job import Control, Job

Tell = Callable[[int, int, torch.Tensor, tuple[int, int]], None]
"""Told after each step: the steps done, those of all pictures, the latents, the size in pixels."""
Show = Callable[[list[Image.Image]], None]
"""Told once what the ControlNets see, one picture each."""


@dataclass(frozen=True)
class Drawn:
    """A picture with its seed and its settings in AUTOMATIC1111's text format."""

    image: Image.Image
    seed: int
    infotext: str


@dataclass(frozen=True)
class Plan:
    """A job with everything settled that it left open. mode: what the pipeline does, which may be more than was asked."""

    job: Job
    mode: str
    sampling: Sampling
    seeds: tuple[int, ...]
    canvas: Canvas


@torch.inference_mode()
def draw(
    model: Opened, job: Job, tell: Tell, cancelled: Callable[[], bool], show: Show = lambda seen: None
) -> Iterator[Drawn]:
    """The pictures of a job in the order of their seeds; each is a function of its seed, whatever is made beside it.

    Interrupted once `cancelled` says so; FsdErrors for what the job or the model cannot do.
    """
    plan = make_plan(model, job)
    merge(model, job.lora)
    pipeline = _pipeline(model, plan)
    sampler = set_sampler(pipeline, model.scheduler, job.sampler, plan.sampling.steps)
    text = settings_text(model.name, plan.job, plan.sampling, sampler)
    seen = [_seen(plan, control) for control in job.controls]
    extra = control_arguments(model, pipeline, job.controls, seen) if seen else {}
    show(seen)
    at_once = _at_once(model, plan)
    for start in range(0, len(plan.seeds), at_once):
        seeds = plan.seeds[start : start + at_once]
        follow = _following(plan, start, len(seeds), tell, cancelled)
        arguments = _arguments(plan, seeds) | extra | {"callback_on_step_end": follow}
        torch.manual_seed(seeds[0])  # some of Diffusers' pipelines draw a control's latents without our generators
        try:
            made = pipeline(**accepted(pipeline, arguments))
        finally:
            pipeline.maybe_free_model_hooks()
        for seed, image in zip(seeds, made.images, strict=True):
            yield Drawn(plan.canvas.finished(image), seed, text(seed))


def make_plan(model: Opened, job: Job) -> Plan:
    """The job with its model's own numbers where it named none; RecipeError for a size that the model cannot make."""
    step_px = model.pipeline.vae_scale_factor * (2 if model.family.backbone == "transformer" else 1)
    size = _size(model, job, step_px)
    for name, side in zip(("width_px", "height_px"), size, strict=True):
        if side % step_px:
            raise RecipeError(f"{name} is {side}, not a multiple of {step_px}", f"take {side // step_px * step_px}")
    steps = model.family.sample_steps if job.steps is None else job.steps
    guidance = model.family.guidance if job.guidance is None else job.guidance
    first = random.randrange(2**32) if job.seed < 0 else job.seed
    canvas, mode = make_canvas(job, size), job.mode
    if model.inpainting and mode != "inpaint":  # it always wants a mask: all of it
        start = canvas.image or Image.new("RGB", size, "gray")
        canvas, mode = Canvas(size, start, Image.new("L", size, 255)), "inpaint"
    return Plan(job, mode, Sampling(steps, guidance, *size), tuple(range(first, first + job.images)), canvas)


def set_sampler(pipeline: Any, original: Any, name: str, steps: int) -> str:
    """Give the pipeline the sampler of that name and return it; "": `original`, which the model came with.

    The noise's own figures (its betas, what the network predicts, a flow's shift) stay the model's.
    """
    if not name:
        pipeline.scheduler = _fine_enough(original, steps)
        return images.sampler_name(pipeline)
    import diffusers

    sampler = get_sampler(name, "FlowMatch" in type(original).__name__)
    kind = getattr(diffusers, sampler.scheduler)
    pipeline.scheduler = _fine_enough(kind.from_config(original.config, **sampler.options), steps)
    return sampler.name


def _fine_enough(scheduler: Any, steps: int) -> Any:
    """The scheduler, or one like it with a finer grid where it takes its steps from a grid of fewer timesteps (LCM)."""
    if steps <= scheduler.config.get("original_inference_steps", steps):
        return scheduler
    every = int(scheduler.config.num_train_timesteps)
    grid = next(count for count in range(steps, every + 1) if every % count == 0)
    return type(scheduler).from_config(scheduler.config, original_inference_steps=grid)


def _pipeline(model: Opened, plan: Plan) -> Any:
    networks = controlnets(model, plan.job.controls)
    union = any(is_union(network) for network in networks) and model.family.backbone == "unet"
    if union and len(networks) > 1:
        raise RecipeError("a union ControlNet is used together with another", "use it alone")
    made = build_pipeline(model.pipeline, model.family.layout, plan.mode, networks, union)
    set_tiling(made, plan.sampling.width_px, plan.sampling.height_px)
    return place_beside(made, model.pipeline)


def _at_once(model: Opened, plan: Plan) -> int:
    """How many pictures are made together: one where a transformer's ControlNet draws noise for all of a batch."""
    if plan.job.controls and model.family.backbone == "transformer":
        return 1
    return pictures_at_once(model.pipeline, plan.sampling)


def _size(model: Opened, job: Job, step_px: int) -> tuple[int, int]:
    if job.init_image and job.mode != "txt2img" and job.width_px is None and job.height_px is None:
        return size_like(read_picture(job.init_image), model.native_px, step_px)
    return job.width_px or model.native_px, job.height_px or model.native_px


def _arguments(plan: Plan, seeds: tuple[int, ...]) -> dict[str, Any]:
    """What all pipelines are told; those that take no such thing are told less."""
    job, canvas, count = plan.job, plan.canvas, len(seeds)
    found: dict[str, Any] = {
        "prompt": [job.prompt] * count,
        "negative_prompt": [job.negative] * count,
        "num_inference_steps": plan.sampling.steps,
        "guidance_scale": plan.sampling.guidance,
        "width": plan.sampling.width_px,
        "height": plan.sampling.height_px,
        "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
    }
    if canvas.image:
        strength = 1.0 if job.mode == "txt2img" else _strength(job.strength, plan.sampling.steps)
        found |= {"image": [canvas.image] * count, "strength": strength}
    if canvas.mask:
        found["mask_image"] = [canvas.mask] * count
    return found


def _strength(asked: float, steps: int) -> float:
    """As asked, but for one step at the least: 49 times 1/49 is less than 1, times the next number it is not."""
    least = 1.0 / steps
    return max(asked, least if steps * least >= 1 else math.nextafter(least, 1.0))


def _seen(plan: Plan, control: Control) -> Image.Image:
    """What a ControlNet sees: its picture as it lies on the canvas, prepared."""
    return preprocessed(plan.canvas.seen(read_picture(control.image), control.fit), control)


def _following(plan: Plan, before: int, count: int, tell: Tell, cancelled: Callable[[], bool]) -> Any:
    """The callback of a batch: counts its steps for the whole job, and stops it when it was cancelled."""

    def follow(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if cancelled():
            raise Interrupted("cancelled", "")
        steps = pipeline.num_timesteps
        done = before * steps + min(step + 1, steps) * count
        tell(done, steps * len(plan.seeds), tensors["latents"], plan.canvas.size)
        return tensors

    return follow
