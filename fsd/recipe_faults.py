"""What is wrong with a recipe's values, a sentence each; their types are checked before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsd.families import FAMILIES
from fsd.families.family import ModelFamily
from fsd.families.rules import resolution_faults, training_fault

if TYPE_CHECKING:
    from fsd.recipe import Recipe


@dataclass(frozen=True)
class Range:
    """What a number may be, both ends included unless `above` or `below` leaves one out. note: why, in brackets."""

    low: float = 0
    high: float = math.inf
    above: bool = False
    below: bool = False
    note: str = ""

    def holds(self, value: float) -> bool:
        after = value > self.low if self.above else value >= self.low
        before = value < self.high if self.below else value <= self.high
        return after and before

    def __str__(self) -> str:
        """What a value outside of it is."""
        if self.high == math.inf:
            return f"below {self.low}{self.note}"
        if self.above:
            return f"not above {self.low} and at most {self.high}"
        return f"not {self.low} to {'below ' if self.below else ''}{self.high}{self.note}"


_STEPS, _RATE, _SHARE = Range(0, 1_000_000), Range(0, 1, above=True), Range(0, 1, below=True)
_RANGES = {
    "text_encoder.steps": _STEPS, "text_encoder.learning_rate": _RATE, "unet.steps": _STEPS, "unet.learning_rate": _RATE,
    "lora.steps": _STEPS, "lora.learning_rate": _RATE, "lora.text_learning_rate": _RATE, "lora.rank": Range(1, 1024),
    "lora.alpha": Range(), "lora.dropout": _SHARE,
    "captioner.steps": _STEPS, "captioner.learning_rate": _RATE, "captioner.batch_size": Range(1, 256),
    "captioner.rank": Range(0, 1024),
    "batch_size": Range(1, 256), "gradient_accumulation": Range(1, 256), "warmup_steps": Range(), "weight_decay": Range(),
    "max_grad_norm": Range(), "ema_decay": _SHARE,
    "offset_noise": Range(0, 1), "multires_noise": _SHARE, "min_snr_gamma": Range(), "flow_shift": Range(0, 20),
    "augment.copies": Range(0, 100), "captions.dropout": _SHARE, "captions.shuffles": Range(0, 100), "captions.keep": Range(),
    "mask.outside": Range(0, 1), "seed": Range(0, 2**63 - 1),
    "prior.images": Range(), "prior.weight": Range(), "save.every_steps": Range(1), "save.from_step": Range(),
    "save.keep": Range(2, note=" (one to go on from and one in reserve)"), "samples.every_steps": Range(),
    "validation.every_steps": Range(), "validation.draws": Range(1, 100),
}  # fmt: skip


def value_faults(recipe: Recipe) -> list[str]:
    """A sentence for every setting whose value cannot be, or not beside the others."""
    numbers = [(name, recipe.value(name), allowed) for name, allowed in _RANGES.items()]
    found = [f"{name} is {value}, {allowed}" for name, value, allowed in numbers if not allowed.holds(value)]
    found += _setting_faults(recipe)
    if recipe.family not in FAMILIES:
        return [*found, f"family is {recipe.family!r}, not one of {', '.join(FAMILIES)}"]
    found += _family_faults(recipe, FAMILIES[recipe.family])
    return found + resolution_faults(FAMILIES[recipe.family], recipe.resolution_px, recipe.force)


def _setting_faults(recipe: Recipe) -> list[str]:
    found = [] if recipe.identifier.strip() else ["identifier is empty"]
    if "{identifier}" not in recipe.caption_template:
        found.append(f"caption_template {recipe.caption_template!r} has no {{identifier}}")
    if recipe.prior.images and not recipe.class_word:
        found.append("prior.images is set but class_word is empty")
    quantize = recipe.lora.quantize
    if recipe.method == "lora" and recipe.compile == "on" and quantize != "none":
        found.append(f"compile is 'on', and lora.quantize is {quantize!r}: quantized weights cannot be compiled")
    return found


def _family_faults(recipe: Recipe, family: ModelFamily) -> list[str]:
    impossible = training_fault(family, recipe.method)
    found = [impossible] if impossible else []
    if recipe.flow_shift and family.prediction != "flow":
        found.append(f"flow_shift is set, but {family.title} predicts no flow")
    if recipe.zero_terminal_snr and family.prediction != "v_prediction":
        what = f"zero_terminal_snr is set, but {family.title} cannot learn from noise alone: it predicts no v"
        found.append(what)
    return found
