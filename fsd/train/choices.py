"""What a run settles for itself when it begins: what "auto" means here, and on what machine that is."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from fsd.recipe import Recipe
from fsd.train.compiling import choose_compile
from fsd.train.device import choose_precision
from fsd.train.optimizer import choose_optimizer
from fsd.train.sharding import sharding_wanted


def chosen(recipe: Recipe, then: dict[str, str], stage: str, backbone: Path) -> dict[str, str]:
    """What "auto" means in this run: what it meant when the run began, else what suits this machine.

    What could not be compiled then is not compiled now, either. backbone: the folder of its weights.
    """
    now = {
        "optimizer": choose_optimizer(recipe.optimizer, torch.cuda.is_available() and not sharding_wanted()),
        "precision": choose_precision(recipe.precision),
        "compile": choose_compile(recipe, stage, backbone),
    }
    return {name: then.get(name, kind) for name, kind in now.items()}


def machine() -> dict[str, str]:
    """What the bits of a run depend on besides its facts: the device, PyTorch's version and its threads."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return {"device": device, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
