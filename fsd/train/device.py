"""The device and precision that Accelerate drives, and the settings that make a CPU fast and a GPU repeatable."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextModel

from fsd.errors import MachineError
from fsd.recipe import Recipe

_ACCELERATE_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(recipe: Recipe) -> Accelerator:
    """An Accelerator in the recipe's precision."""
    precision = choose_precision(recipe.precision)
    if precision == "fp16" and not torch.cuda.is_available():
        raise MachineError("precision is fp16, which needs a GPU, and there is none", "choose fp32, bf16 or auto")
    _repeatable(recipe.repeatable)
    return Accelerator(mixed_precision=_ACCELERATE_NAMES[precision])


def choose_precision(name: str) -> str:
    """What "auto" means: bf16 or fp16 on a GPU, by what it has, and fp32 on a CPU."""
    if name != "auto":
        return name
    return ("bf16" if torch.cuda.is_bf16_supported(False) else "fp16") if torch.cuda.is_available() else "fp32"


def load_unet(folder: Path, device: torch.device) -> UNet2DConditionModel:
    """The UNet in fp32 on the device, with the attention that is fast there: PyTorch's fused one is slow backwards on a CPU."""
    unet = UNet2DConditionModel.from_pretrained(folder)
    unet.register_to_config(_name_or_path="")  # else every checkpoint tells the folder that the run was resumed from
    if device.type == "cpu":
        unet.set_attn_processor(AttnProcessor())
    return unet.to(device)


def load_text_encoder(folder: Path, device: torch.device) -> CLIPTextModel:
    """The text encoder in fp32 on the device, likewise."""
    attention = {"attn_implementation": "eager"} if device.type == "cpu" else {}
    return CLIPTextModel.from_pretrained(folder, dtype=torch.float32, **attention).to(device)


def freeze(module: nn.Module, accelerator: Accelerator) -> nn.Module:
    """The module on the device in the compute precision, without gradients of its own."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision, torch.float32)
    return module.to(accelerator.device, dtype).requires_grad_(False).eval()


def _repeatable(strictly: bool) -> None:
    """Have the same run give the same bits again on the same hardware.

    Only strictly is the backward pass of CUDA's attention kernels repeatable; where an operation has no repeatable
    form PyTorch then raises instead of warning (pytorch.org/docs: torch.use_deterministic_algorithms).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=not strictly)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
