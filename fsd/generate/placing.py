"""Where a pipeline's weights lie and in which precision: on the GPU, taking turns there, or on the CPU."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import torch

from fsd.runtime import report

_WORKING_BYTES = 3 << 30
"""What a picture of 1024 px takes beside the weights."""
_TILED_PX = 1280 * 1280
"""From here on the VAE goes over the picture in tiles; below that they would only show."""


def place(pipeline: Any) -> Any:
    """The pipeline, ready to draw: fp32 on a CPU; on a GPU in half precision, whole if it fits.

    If not, its parts come to the GPU in turn, or, where even the largest does not fit, its layers.
    """
    if not torch.cuda.is_available():
        return pipeline.to("cpu", torch.float32)
    precision = half_precision(pipeline.components)
    sizes = [2 * sum(weight.numel() for weight in part.parameters()) for part in parts(pipeline)]
    free_bytes, _ = torch.cuda.mem_get_info()
    pipeline.vae.enable_slicing()
    if sum(sizes) + _WORKING_BYTES <= free_bytes:
        return pipeline.to("cuda", precision)
    pipeline.to(precision)
    pipeline.fsd_offload = "model" if max(sizes) + _WORKING_BYTES <= free_bytes else "sequential"
    what = "parts take" if pipeline.fsd_offload == "model" else "layers take"
    sizes_text = f"{report.human_bytes(sum(sizes))} of weights, {report.human_bytes(free_bytes)} free on the GPU"
    report.say(f"{sizes_text}: the model's {what} turns there")
    return _offloaded(pipeline)


def place_beside(made: Any, pipeline: Any) -> Any:
    """A pipeline made of a placed one's parts and others, the others now placed as those are."""
    offload = getattr(pipeline, "fsd_offload", "")
    first = next(parts(pipeline))
    for part in parts(made):
        if part not in list(parts(pipeline)):
            part.to(first.dtype) if offload else part.to(first.device, first.dtype)
    if offload == "model" or (offload and made is not pipeline):  # another pipeline's hooks may be on the parts
        made.fsd_offload = offload
        return _offloaded(made)
    return made


def set_tiling(pipeline: Any, width_px: int, height_px: int) -> None:
    """Have the VAE work in tiles for large pictures, and only for these."""
    large = width_px * height_px >= _TILED_PX
    pipeline.vae.enable_tiling() if large else pipeline.vae.disable_tiling()


def half_precision(parts: Container[str]) -> torch.dtype:
    """fp16; bf16 for models with a transformer where the GPU has it, as their T5 leaves the range of fp16."""
    able = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    return torch.bfloat16 if able and "transformer" in parts else torch.float16


def parts(pipeline: Any) -> Iterator[torch.nn.Module]:
    """The networks of a pipeline."""
    return (part for part in pipeline.components.values() if isinstance(part, torch.nn.Module))


def _offloaded(pipeline: Any) -> Any:
    if pipeline.fsd_offload == "model":
        pipeline.enable_model_cpu_offload()
    else:
        pipeline.enable_sequential_cpu_offload()
    return pipeline
