"""The verbs that say what training will need, before anything is downloaded, and pick the settings that fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fsd.captioners import planned
from fsd.data.session import Session
from fsd.errors import RecipeError
from fsd.families import get_family
from fsd.families.captioners import CAPTIONERS
from fsd.families.rules import METHODS, default_method
from fsd.needs import family_of, need_base_model
from fsd.recipe import Recipe
from fsd.recipe_faults import value_faults
from fsd.runtime import machine, report
from fsd.runtime.process import run_stage
from fsd.runtime.report import Result, human_bytes
from fsd.weights.checkpoint import list_checkpoints

_USABLE = 0.94
"""Of a GPU's memory: the rest goes to fragments between tensors."""
_FP16_NOTE = (
    "note: this model was made in bf16; on a GPU that cannot compute in it, such as a T4, in fp16, a number may grow beyond "
    "65504, which ends training (what was saved stays)"
)
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

    Photos of a step that do not fit at once go through in parts, which learn the same.
    base_model: a family, such as flux-dev, what a session's base model is called, or a captioner, such as blip2.
    method: full or lora (default: full where the family can).
    resolution_px: the side of the training pictures (default: the family's own).
    batch_size: photos a step.
    rank: of a LoRA.
    memory_gb: of the GPU to plan for (default: of this machine's).
    """
    precision, room_bytes = _machine(memory_gb)
    if base_model in CAPTIONERS:
        text, figures = planned(base_model, room_bytes, "cpu" if precision == "fp32" else "cuda")
        return Result(text, **figures)
    family = get_family(family_of(base_model) or base_model or "sd15")
    recipe = Recipe(family=family.name, resolution_px=resolution_px or family.native_px, batch_size=batch_size)
    recipe = recipe.changed(method=method or default_method(family), precision=precision, lora__rank=rank).checked()
    found = _planned(recipe, room_bytes)
    if not found["fits"]:
        return found
    return Result(f"{found.text}\nto use it: fsd change-settings SESSION {_pairs(found)}", **found)


def plan_session(session: Session, method: str = "", use: bool = False) -> Result:
    """Show the memory of each phase of training a session as its recipe says, and the fastest settings that fit this machine.

    method: full or lora (default: the session's).
    use: put the method and those settings into the recipe; once training by it has begun, what is there stays.
    """
    need_base_model(session)
    before = session.recipe()
    precision, room_bytes = _machine()
    precision = precision if before.precision == "auto" else before.precision
    recipe = before.changed(method=method or before.method)
    found = _planned(recipe.changed(precision=precision).checked(), room_bytes)
    if not found["fits"]:
        return found
    begun = any(list_checkpoints(session.checkpoints, stage) for stage in recipe.stages)
    told = "with `use` they go into the session's recipe" if not use else "the session's recipe has them now"
    if use and begun:
        told = f"the session's recipe keeps what its {METHODS[recipe.method]} began with"
    elif use:
        session.save_recipe(recipe.changed(**found["settings"]))
    return Result(f"{found.text}\n{_pairs(found)}: {told}", used=use and not begun, **found)


def _planned(recipe: Recipe, room_bytes: int) -> Result:
    """The phases of the fastest way to train that fits, else of the leanest. recipe: with its precision settled."""
    ways, usable_bytes = list(_ways(recipe)), int(_USABLE * room_bytes)
    device, recipes = "cpu" if recipe.precision == "fp32" else "cuda", [way.to_json() for way in ways]
    request = json.dumps({"device": device, "room_bytes": usable_bytes, "recipes": recipes})
    plans = run_stage("fsd.train.plan", request)["plans"]
    peaks = [max(phase["total_bytes"] for phase in phases) for phases in plans]
    chosen = len(plans) - 1
    fits = peaks[chosen] <= usable_bytes
    rows = [[phase["name"], human_bytes(phase["total_bytes"]), _parts(phase["bytes"])] for phase in plans[chosen]]
    title = f"{get_family(recipe.family).title}, {METHODS[recipe.method]}"
    lines = [
        f"{title}, {recipe.resolution_px} px, batch {recipe.batch_size}",
        report.table(rows, ["phase", "memory", "of which"]),
        f"of {human_bytes(room_bytes)}, training can fill {human_bytes(usable_bytes)}",
        *(f"too much: {_named(way)}: {human_bytes(peak)}" for way, peak in zip(ways[:chosen], peaks, strict=False)),
        f"fits: {_named(ways[chosen])}: {human_bytes(peaks[chosen])}" if fits
        else f"even the leanest settings need {human_bytes(peaks[chosen])}: {_way_out(plans[chosen])}",
        *([_FP16_NOTE] if recipe.precision == "fp16" and get_family(recipe.family).backbone == "transformer" else []),
    ]  # fmt: skip
    return Result(
        "\n".join(lines), fits=fits, peak_bytes=peaks[chosen], memory_bytes=room_bytes,
        settings=_settings(ways[chosen]), phases=plans[chosen],
    )  # fmt: skip


def _way_out(phases: list[dict[str, Any]]) -> str:
    """What helps where nothing fits: the captions' phase does not depend on the pictures' size."""
    largest = max(phases, key=lambda phase: phase["total_bytes"])
    smaller = "" if largest["name"] == "encode captions" else "choose a smaller resolution, or "
    return f"{smaller}take a GPU with more memory for the phase {largest['name']!r}"


def _machine(memory_gb: float = 0.0) -> tuple[str, int]:
    """(the precision that training would choose, the bytes of memory) of the GPU to plan for, else of this machine."""
    found = machine.gpu_facts()
    if memory_gb < 0:
        raise RecipeError(f"memory_gb is {memory_gb:g}, no memory", "give the GPU's gigabytes, such as 15")
    if memory_gb:
        return ("bf16" if found and found.bf16 else "fp16"), int(memory_gb * 1e9)
    if found:
        return ("bf16" if found.bf16 else "fp16"), found.memory_bytes
    return "fp32", machine.survey()["memory_bytes"]


def _ways(recipe: Recipe) -> Iterator[Recipe]:
    """The recipe's ways to train, the fastest first: each saves memory and costs time."""
    on_gpu = recipe.precision != "fp32"
    optimizers = ("adamw8bit",) if on_gpu else ("adamw", "adamw8bit")
    optimizers = optimizers if recipe.optimizer in ("auto", *_OPTIMIZERS) else (recipe.optimizer,)
    quantized = ("none", "int8", "nf4") if recipe.method == "lora" and on_gpu else ("none",)
    for optimizer in optimizers:
        for checkpointing in (False, True):
            for quantize in quantized if checkpointing else ("none",):
                way = recipe.changed(optimizer=optimizer, gradient_checkpointing=checkpointing, lora__quantize=quantize)
                yield way
                yield from _parted(way)


def _parted(recipe: Recipe) -> Iterator[Recipe]:
    """The recipe with a step's photos in two parts, then four, and so on: what is learned is the same."""
    while recipe.batch_size % 2 == 0:
        parts = 2 * recipe.gradient_accumulation
        recipe = recipe.changed(batch_size=recipe.batch_size // 2, gradient_accumulation=parts)
        if value_faults(recipe):  # more parts than there may be
            return
        yield recipe


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What is chosen, by the names of the settings."""
    names = ["optimizer", "gradient_checkpointing", "batch_size", "gradient_accumulation"]
    names += ["lora.quantize"] if recipe.method == "lora" else []
    return {name: recipe.value(name) for name in names}


def _pairs(found: Result) -> str:
    """What is chosen, as change-settings takes it."""
    return " ".join(f"{name}={str(value).lower()}" for name, value in found["settings"].items())


def _named(recipe: Recipe) -> str:
    """What is chosen, in words."""
    slow = recipe.precision == "fp32" and recipe.optimizer == "adamw8bit"
    optimizer = _OPTIMIZERS.get(recipe.optimizer, recipe.optimizer)
    words = [recipe.precision, f"{optimizer} (five times slower on a CPU)" if slow else optimizer]
    words += ["gradient checkpointing (a quarter slower)"] if recipe.gradient_checkpointing else []
    words += [f"backbone in {recipe.lora.quantize}"] if recipe.lora.quantize != "none" else []
    parts = recipe.gradient_accumulation
    words += [f"batch {parts * recipe.batch_size} in {parts} parts"] if parts > 1 else []
    return ", ".join(words)


def _parts(held: dict[str, int]) -> str:
    return ", ".join(f"{what} {human_bytes(size)}" for what, size in held.items() if size)
