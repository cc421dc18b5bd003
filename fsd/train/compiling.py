"""The repeated blocks of a backbone compiled by PyTorch, where that pays; where it fails the run goes on without."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator

from fsd.recipe import Recipe
from fsd.runtime import report
from fsd.train.sharding import sharding_wanted
from fsd.weights.sizes import parameters

if TYPE_CHECKING:
    from fsd.train.loop import Run, Stage

BACKEND: Any = "inductor"
_CAPABILITY = (8, 0)
_COMPILING_S = 90.0
"""What compiling all kinds of blocks takes, forwards and back; it is done again when a run goes on."""
_SAVED_SHARE = 0.2
_OPERATIONS_PER_S = 1e14
_TOKEN_PX = 16
_SHAPES = 64
"""Kinds and sizes of blocks, each of which is compiled by itself; PyTorch gives up after 8 unless it is told so."""


def choose_compile(recipe: Recipe, stage: str, backbone: Path) -> str:
    """What "auto" means: "on" where blocks can be compiled and that saves more time than it takes.

    Only stages of which the backbone is trained compile. backbone: the folder of its weights.
    """
    if stage == "text_encoder" or recipe.compile == "off":
        return "off"
    if recipe.compile == "on":
        return "on"
    fits = torch.cuda.is_available() and torch.cuda.get_device_capability() >= _CAPABILITY
    plain = recipe.lora.quantize == "none" and not recipe.buckets and not sharding_wanted()
    return "on" if fits and plain and _saved_s(recipe, stage, parameters(backbone)) > _COMPILING_S else "off"


def _saved_s(recipe: Recipe, stage: str, weights: int) -> float:
    """About how much time a stage saves: of six operations a weight and token, at the speed of a card of that class."""
    rows = recipe.batch_size * recipe.gradient_accumulation * (2 if recipe.prior.images else 1)
    tokens = (recipe.resolution_px // _TOKEN_PX) ** 2
    return _SAVED_SHARE * getattr(recipe, stage).steps * rows * 6 * weights * tokens / _OPERATIONS_PER_S


def compile_blocks(backbone: Any, recipe: Recipe) -> None:
    """Have the repeated blocks compiled as they are called, if the recipe says so (Diffusers' regional compilation).

    Each size by itself and without trying out kernels, so that a run that goes on computes as before.
    """
    if recipe.compile != "on":
        return
    import torch._dynamo
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = _SHAPES
    torch._dynamo.config.optimize_ddp = False  # blocks are small enough to share their gradients early
    torch._inductor.config.deterministic = True
    if not getattr(backbone, "_repeated_blocks", None):  # as of Stable Diffusion 3
        backbone._repeated_blocks = [*backbone._no_split_modules]
    backbone.compile_repeated_blocks(backend=BACKEND, dynamic=False)


def settle_compiled(stage: Stage, run: Run, step: int) -> None:
    """Compile by a pass forwards and back, which changes nothing; if that fails in any process, all go on without.

    The run's facts then say so, and it stays so when the run goes on.
    """
    if run.recipe.compile != "on":
        return
    since = time.monotonic()
    fault = _fault(stage, run.accelerator, step)
    if _anywhere(bool(fault), run.accelerator):
        torch.compiler.set_stance("force_eager")
        run.facts["chosen"]["compile"] = "off"
        report.say(f"training goes on without torch.compile: {fault or 'it failed in another process'}")
        return
    torch._dynamo.config.suppress_errors = True  # what is new later runs as it is, if it cannot be compiled
    report.say(f"compiled the backbone's blocks in {report.human_seconds(time.monotonic() - since)}")


def _fault(stage: Stage, accelerator: Accelerator, step: int) -> str:
    """What a pass forwards and back over a step's batches fails of, in a line; empty if it does not."""
    try:
        with accelerator.no_sync(stage.network):
            stage.probe(step)
    except Exception as fault:
        lines = [line for line in str(fault).splitlines() if line.strip()]
        return lines[0] if lines else type(fault).__name__
    return ""


def _anywhere(here: bool, accelerator: Accelerator) -> bool:
    if accelerator.num_processes == 1:
        return here
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device), "sum"))
