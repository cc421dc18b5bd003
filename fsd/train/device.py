"""The device and precision that Accelerate drives, and the settings that make a CPU fast and a GPU repeatable."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from fsd.errors import MachineError
from fsd.recipe import Recipe
from fsd.train.sharding import need_sharded, sharding_plugin, sharding_wanted
from fsd.train.together import PARALLEL

_ACCELERATE_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What networks compute in, by the names of settings."""


def make_accelerator(recipe: Recipe) -> Accelerator:
    """An Accelerator in the recipe's precision; where the launcher asked for FSDP, one that shards weights."""
    precision = choose_precision(recipe.precision)
    if precision == "fp16" and not torch.cuda.is_available():
        raise MachineError("precision is fp16, which needs a GPU, and there is none", "choose fp32, bf16 or auto")
    _repeatable(recipe.repeatable)
    plugin = sharding_plugin() if sharding_wanted() else None
    found = Accelerator(mixed_precision=_ACCELERATE_NAMES[precision], kwargs_handlers=[PARALLEL], fsdp_plugin=plugin)
    if plugin:
        need_sharded(found)
    return found


def choose_precision(name: str) -> str:
    """What "auto" means: bf16 or fp16 on a GPU, by what it has, and fp32 on a CPU."""
    if name != "auto":
        return name
    return ("bf16" if torch.cuda.is_bf16_supported(False) else "fp16") if torch.cuda.is_available() else "fp32"


def compute_dtype(accelerator: Accelerator) -> torch.dtype:
    """What networks run in whose weights do not change."""
    return DTYPES.get(accelerator.mixed_precision, torch.float32)


def load_backbone(
    model: Path,
    part: str,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    quantize: str = "none",
    stay: bool = False,
) -> Any:
    """The UNet or transformer of a model from a folder, with the attention that is fast on the device.

    quantize: "none", "int8" or "nf4", by bitsandbytes. stay: keep it on the CPU, though the device runs it.
    """
    _, name = json.loads((model / "model_index.json").read_text(encoding="utf-8"))[part]
    kind = getattr(importlib.import_module("diffusers"), name)
    if quantize != "none":
        return kind.from_pretrained(
            folder, torch_dtype=dtype, quantization_config=quantization("diffusers", quantize, dtype, "lora.quantize")
        )
    found = kind.from_pretrained(folder)
    found.register_to_config(_name_or_path="")  # else every checkpoint tells the folder that the run was resumed from
    if device.type == "cpu":
        fast_on_cpu(found)
    return found.to("cpu" if stay else device, dtype)


def fast_on_cpu(backbone: Any) -> None:
    """Have a UNet use the attention that is fast backwards on a CPU; transformers have no other."""
    if isinstance(backbone, UNet2DConditionModel):
        backbone.set_attn_processor(AttnProcessor())


def freeze(module: nn.Module, accelerator: Accelerator) -> nn.Module:
    """The module on the device in the compute precision, without gradients of its own."""
    return module.to(accelerator.device, compute_dtype(accelerator)).requires_grad_(False).eval()


def quantization(library: str, kind: str, dtype: torch.dtype, setting: str, **more: Any) -> Any:
    """The BitsAndBytesConfig of a library, "diffusers" or "transformers"; MachineError where bitsandbytes is missing.

    kind: "int8" or "nf4". dtype: that is computed in. setting: what was set so. more: settings of theirs.
    """
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        what = f"{setting} is {kind!r}, which needs bitsandbytes, and it is not installed"
        raise MachineError(what, f"run fsd setup train, or choose {setting}=none") from None
    config = importlib.import_module(library).BitsAndBytesConfig
    if kind == "int8":
        return config(load_in_8bit=True, **more)
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        **more,
    )


def _repeatable(strictly: bool) -> None:
    """Have the same run give the same bits again on the same hardware.

    Only strictly is the backward pass of CUDA's attention kernels repeatable; where an operation has no repeatable
    form PyTorch then raises instead of warning (pytorch.org/docs: torch.use_deterministic_algorithms).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=not strictly)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
