"""Weights dealt out to several GPUs (FSDP2 of PyTorch, Zhao et al. 2023), as `accelerate launch --use_fsdp` asks for."""

from __future__ import annotations

import os

from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor

from fsd.errors import MachineError, RecipeError
from fsd.recipe import Recipe

OPTIMIZERS = ("auto", "adamw")
"""Those that know of weights of which each process has a share; bitsandbytes' and Prodigy do not."""


def sharding_wanted() -> bool:
    """Whether the launcher was told to shard the weights."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def need_shardable(recipe: Recipe, stage: str) -> None:
    """Raise what FSDP cannot do here; RecipeError."""
    faults = []
    if stage != "lora":
        faults.append(f"the stage {stage} trains whole weights, and FSDP is here for the large backbones' LoRA")
    if recipe.lora.quantize != "none":
        faults.append(f"lora.quantize is {recipe.lora.quantize!r}, and quantized weights cannot be dealt out")
    if recipe.optimizer not in OPTIMIZERS:
        faults.append(f"optimizer is {recipe.optimizer!r}, not {' or '.join(OPTIMIZERS)}")
    if recipe.compile == "on":
        faults.append("compile is 'on', and blocks that are dealt out are not compiled")
    if faults:
        raise RecipeError(f"this cannot be trained by FSDP: {'; '.join(faults)}", "change it or leave out --use_fsdp")


def sharding_plugin() -> FullyShardedDataParallelPlugin:
    """FSDP2 by the backbones' blocks, in the types that the weights have: autocast chooses what is computed in.

    Each process reads the weights on its CPU, from where a block at a time goes to the GPUs.
    """
    return FullyShardedDataParallelPlugin(
        fsdp_version=2, reshard_after_forward=True, auto_wrap_policy="transformer_based_wrap", cpu_offload=False,
        mixed_precision_policy=MixedPrecisionPolicy(), cpu_ram_efficient_loading=False, activation_checkpointing=False,
    )  # fmt: skip


def need_sharded(accelerator: Accelerator) -> None:
    """Raise MachineError where Accelerate has no FSDP: without GPUs, or in one process alone."""
    count, kind = accelerator.num_processes, accelerator.device.type
    if count == 1 or not is_sharded(accelerator):
        what = f"FSDP needs several GPUs, a process for each, and there are {count} on {kind}"
        raise MachineError(what, "leave out --use_fsdp")


def is_sharded(accelerator: Accelerator) -> bool:
    return bool(accelerator.is_fsdp2)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, gathered from all processes, each of which has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def alike(tensor: Tensor, weight: Tensor) -> Tensor:
    """A copy of a tensor where a weight is, dealt out as the weight is, if it has its shape."""
    if isinstance(weight, DTensor) and tensor.shape == weight.shape:
        return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements)
    return tensor.to(weight.device, copy=True)
