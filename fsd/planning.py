"""The verb that says what training will need, before anything is downloaded, and picks the settings that fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fsd.families import get_family
from fsd.families.rules import METHODS, default_method
from fsd.needs import family_of
from fsd.recipe import Recipe
from fsd.runtime import machine, report
from fsd.runtime.process import run_stage
from fsd.runtime.report import Result, human_bytes

_USABLE = 0.94
"""Of a GPU's memory: the rest goes to fragments between tensors."""
_OPTIMIZERS = {"adamw": "AdamW", "adamw8bit": "8-bit AdamW"}


def plan(
    base_model: str = "sd15",
    method: str = "",
    resolution_px: int = 0,
    batch_size: int = 1,
    rank: int = 16,
    memory_gb: float = 0.0,
) -> Result:
    """Show the memory of each phase of training, from the real shapes, and the fastest settings that fit this machine.

    base_model: a family, such as flux-dev, or what a session's base model is called.
    method: full or lora (default: full where the family can).
    resolution_px: the side of the training pictures (default: the family's own).
    batch_size: photos a step.
    rank: of a LoRA.
    memory_gb: of the GPU to plan for (default: of this machine's).
    """
    family = get_family(family_of(base_model) or "sd15")
    precision, room_bytes = _machine(memory_gb)
    recipe = Recipe(family=family.name, resolution_px=resolution_px or family.native_px, batch_size=batch_size)
    recipe = recipe.changed(method=method or default_method(family), precision=precision, lora__rank=rank).checked()
    ways = list(_ways(recipe))
    request = {"device": "cpu" if precision == "fp32" else "cuda", "recipes": [way.to_json() for way in ways]}
    plans = run_stage("fsd.train.plan", json.dumps(request))["plans"]
    peaks = [max(phase["total_bytes"] for phase in phases) for phases in plans]
    fits = next((at for at, peak in enumerate(peaks) if peak <= _USABLE * room_bytes), None)
    chosen = len(ways) - 1 if fits is None else fits
    rows = [[phase["name"], human_bytes(phase["total_bytes"]), _parts(phase["bytes"])] for phase in plans[chosen]]
    lines = [
        f"{family.title}, {METHODS[recipe.method]}, {recipe.resolution_px} px, batch {batch_size}",
        report.table(rows, ["phase", "memory", "of which"]),
        *(f"too much for {human_bytes(room_bytes)}: {_named(way)}: {human_bytes(peak)}"
          for way, peak in zip(ways[:chosen], peaks, strict=False)),
        f"fits {human_bytes(room_bytes)}: {_named(ways[chosen])}: {human_bytes(peaks[chosen])}" if fits is not None
        else f"even the leanest settings need {human_bytes(peaks[chosen])}: too much for {human_bytes(room_bytes)}; "
             "choose a smaller resolution, or a GPU with more memory",
    ]  # fmt: skip
    settings = _settings(ways[chosen])
    if fits is not None:
        lines.append(
            f"to use it: fsd change-settings SESSION {' '.join(f'{name}={settings[name]}' for name in settings)}"
        )
    return Result(
        "\n".join(lines), fits=fits is not None, peak_bytes=peaks[chosen], memory_bytes=room_bytes,
        settings=settings, phases=plans[chosen],
    )  # fmt: skip


def _machine(memory_gb: float) -> tuple[str, int]:
    """(the precision that training would choose, the bytes of memory) of the GPU to plan for, else of this machine."""
    found = machine.gpu_facts()
    if memory_gb:
        return ("bf16" if found and found.bf16 else "fp16"), int(memory_gb * 1e9)
    if found:
        return ("bf16" if found.bf16 else "fp16"), found.memory_bytes
    return "fp32", machine.survey()["memory_bytes"]


def _ways(recipe: Recipe) -> Iterator[Recipe]:
    """The recipe's ways to train, the fastest first: each saves memory and costs time."""
    on_gpu = recipe.precision != "fp32"
    optimizers = ("adamw8bit",) if on_gpu else ("adamw", "adamw8bit")
    quantized = ("none", "int8", "nf4") if recipe.method == "lora" and on_gpu else ("none",)
    for optimizer in optimizers:
        for checkpointing in (False, True):
            for quantize in quantized if checkpointing else ("none",):
                yield recipe.changed(optimizer=optimizer, gradient_checkpointing=checkpointing, lora__quantize=quantize)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What is chosen, as change-settings takes it."""
    found: dict[str, Any] = {
        "optimizer": recipe.optimizer,
        "gradient_checkpointing": json.dumps(recipe.gradient_checkpointing),
    }
    return found | ({"lora.quantize": recipe.lora.quantize} if recipe.method == "lora" else {})


def _named(recipe: Recipe) -> str:
    """What is chosen, in words."""
    words = [recipe.precision, _OPTIMIZERS[recipe.optimizer]]
    words += ["gradient checkpointing (a quarter slower)"] if recipe.gradient_checkpointing else []
    words += [f"backbone in {recipe.lora.quantize}"] if recipe.lora.quantize != "none" else []
    return ", ".join(words)


def _parts(held: dict[str, int]) -> str:
    return ", ".join(f"{what} {human_bytes(size)}" for what, size in held.items() if size)
