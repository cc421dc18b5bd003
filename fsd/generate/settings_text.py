"""What a picture was made with, in AUTOMATIC1111's text format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsd import __version__, infotext
from fsd.families.samplers import title_and_schedule
from fsd.generate.images import Sampling
from fsd.generate.merging import lora_hash
from fsd.job import Control, Job


def settings_text(model: str, job: Job, sampling: Sampling, sampler: str) -> Callable[[int], str]:
    """The settings text of a job's pictures, by their seeds. model, sampler: their names."""
    title, schedule = title_and_schedule(sampler)
    prompt = infotext.with_lora(job.prompt, {Path(lora.path).stem: lora.weight for lora in job.lora})
    after: dict[str, Any] = {"Size": f"{sampling.width_px}x{sampling.height_px}", "Model": model}
    if job.mode != "txt2img":
        after["Denoising strength"] = f"{job.strength:g}"
    if job.mode == "inpaint":
        after["Mask blur"] = job.mask_blur_px
        after["Inpaint area"] = "" if job.mask_padding_px is None else "Only masked"
        after["Masked area padding"] = "" if job.mask_padding_px is None else job.mask_padding_px
    after |= {f"ControlNet {place}": _control_text(control) for place, control in enumerate(job.controls)}
    after["Lora hashes"] = ", ".join(f"{Path(lora.path).stem}: {lora_hash(Path(lora.path))}" for lora in job.lora)
    after["Version"] = f"fsd {__version__}"
    before = {"Steps": sampling.steps, "Sampler": title, "Schedule type": schedule, "CFG scale": sampling.guidance}

    def text(seed: int) -> str:
        settings = {name: str(value) for name, value in {**before, "Seed": seed, **after}.items()}
        return infotext.write(infotext.Infotext(prompt, job.negative, settings))

    return text


def _control_text(control: Control) -> str:
    module = f"{control.preprocessor}, Union mode: {control.mode}" if control.mode else control.preprocessor
    return (
        f"Module: {module}, Model: {Path(control.model).stem}, Weight: {control.weight:g}, "
        f"Guidance Start: {control.start:g}, Guidance End: {control.end:g}"
    )
