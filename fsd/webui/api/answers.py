"""What AUTOMATIC1111's API answers, in its shapes."""

from __future__ import annotations

import base64
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any

from fsd import __version__
from fsd.families.samplers import sampler_names, title_and_schedule
from fsd.infotext import parse
from fsd.job import Job
from fsd.webui.api.jobs import MODULES
from fsd.webui.api.requests import Img2Img, Txt2Img
from fsd.webui.choices import ModelChoice, without_hash
from fsd.webui.engine import Picture, State

_SCHEDULES = ("Automatic", "Uniform", "Karras")


def made(request: Txt2Img, job: Job, pictures: list[Picture], images: list[str], state: State) -> dict[str, Any]:
    """The answer to txt2img and img2img. images: base64, of the pictures."""
    shown = asdict(request)
    if isinstance(request, Img2Img) and not request.include_init_images:
        shown |= {"init_images": None, "mask": None}
    shown["alwayson_scripts"] = {}  # they hold the controls' pictures
    return {"images": images, "parameters": shown, "info": json.dumps(_info(job, pictures, state), ensure_ascii=False)}


def _info(job: Job, pictures: list[Picture], state: State) -> dict[str, Any]:
    count, first = len(pictures), parse(pictures[0].infotext) if pictures else parse("")
    settings = first.settings
    width, _, height = settings.get("Size", "0x0").partition("x")
    known = {"Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Denoising strength", "Version"}
    return {
        "prompt": first.prompt,
        "all_prompts": [first.prompt] * count,
        "negative_prompt": job.negative,
        "all_negative_prompts": [job.negative] * count,
        "seed": pictures[0].seed if pictures else job.seed,
        "all_seeds": [picture.seed for picture in pictures],
        "subseed": -1,
        "all_subseeds": [-1] * count,
        "subseed_strength": 0,
        "width": int(width),
        "height": int(height),
        "sampler_name": settings.get("Sampler", ""),
        "cfg_scale": float(settings.get("CFG scale", 0)),
        "steps": int(settings.get("Steps", 0)),
        "batch_size": job.images,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": settings.get("Model", state.model),
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": job.strength if job.init_image else None,
        "extra_generation_params": {name: value for name, value in settings.items() if name not in known},
        "index_of_first_image": 0,
        "infotexts": [picture.infotext for picture in pictures],
        "styles": [],
        "job_timestamp": datetime.now().strftime("%Y%m%d%H%M%S"),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": f"fsd {__version__}",
    }


def progress(state: State, with_image: bool) -> dict[str, Any]:
    """How far the present job is: 0 to 1, with the seconds that are left and the preview."""
    now, job = state.progress, state.job
    share = now.done / now.total if now and now.total else 0.0
    elapsed = time.monotonic() - state.since if job else 0.0
    each = now.total // job.images if now and job else 0
    image = None
    if with_image and now and now.preview:
        with suppress(OSError):  # the next one has just taken its place
            image = base64.b64encode(now.preview.read_bytes()).decode()
    return {
        "progress": share,
        "eta_relative": elapsed * (1 / share - 1) if share else 0.0,
        "state": {
            "skipped": False,
            "interrupted": False,
            "stopping_generation": False,
            "job": job.mode if job else "",
            "job_count": job.images if job else 0,
            "job_timestamp": "0",
            "job_no": state.made,
            "sampling_step": now.done % each if now and each else 0,
            "sampling_steps": each,
        },
        "current_image": image,
        "textinfo": (now.text or None) if now else None,
    }


def model(choice: ModelChoice) -> dict[str, Any]:
    """One of sd-models; its title is what sd_model_checkpoint takes."""
    name = choice.path.stem if choice.kind == "file" and choice.path else choice.spec
    title = choice.title if choice.kind == "file" else choice.spec
    filename = str(choice.path or choice.spec)
    return {"title": title, "model_name": name, "hash": None, "sha256": None, "filename": filename, "config": None}


def find_model(name: str, choices: list[ModelChoice]) -> ModelChoice | None:
    """The model that a client means: by title, name, file name, path or spec, with or without a [hash] after it."""
    for asked in (name.strip(), without_hash(name)):
        for choice in choices:
            told = model(choice)
            names = (choice.spec, told["title"], told["model_name"], told["filename"])
            if asked in names or (choice.kind == "file" and choice.path and asked == choice.path.name):
                return choice
    return None


def samplers() -> list[dict[str, Any]]:
    """Every sampler once, by its title, and those with a schedule in the name under their old names."""
    titles = {title_and_schedule(name)[0]: name for name in reversed(sampler_names())}
    old = {title: [name for name in sampler_names() if name.startswith(f"{title} Karras")] for title in titles}
    return [{"name": title, "aliases": old[title], "options": {}} for title in reversed(titles)]


def schedulers() -> list[dict[str, Any]]:
    """The spacings of the steps."""
    return [
        {"name": name.lower(), "label": name, "aliases": None, "default_rho": -1, "need_inner_model": False}
        for name in _SCHEDULES
    ]


def control_modules() -> dict[str, Any]:
    """ControlNet's preprocessors that work here; others' pictures can be sent ready-made."""
    return {"module_list": [name for name in MODULES if name and "(" not in name], "module_detail": {}}


def control_types(models: list[str]) -> dict[str, Any]:
    """What the extension's groups hold: here there is one, of everything."""
    modules = control_modules()["module_list"]
    return {"control_types": {"All": {"module_list": modules, "model_list": ["None", *models], "default_option": "none",
                                      "default_model": "None"}}}  # fmt: skip


def memory() -> dict[str, Any]:
    """This machine's main memory in bytes; the GPU's is the drawing process's own matter."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return {"ram": {"free": free, "used": total - free, "total": total}, "cuda": {"error": "unavailable"}}
