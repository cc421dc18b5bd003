"""What a family cannot be combined with, and what is possible instead. Nothing here reads a file or asks a network."""

from __future__ import annotations

from collections.abc import Iterable

from fsd.errors import RecipeError
from fsd.families import FAMILIES
from fsd.families.family import WEB_UIS, ModelFamily
from fsd.settings import one_of

METHODS = {"full": "full DreamBooth", "lora": "LoRA training", "text_encoder": "text-encoder training"}
"""The methods' names in sentences."""


def can_train(family: ModelFamily, method: str = "full") -> bool:
    """Whether the family can be trained so: in full only UNets can."""
    return family.method(method) is not None


def default_method(family: ModelFamily) -> str:
    """How the family is trained unless something else is asked for: in full if it can be."""
    return "full" if can_train(family) else "lora"


def training_fault(family: ModelFamily, method: str = "full") -> str:
    """Why the family cannot be trained so, and what is possible, as a sentence; empty if it can."""
    if can_train(family, method):
        return ""
    others = _names(other for other in FAMILIES.values() if can_train(other, method))
    instead = f"families for {METHODS[method]}: {others or 'none yet'}"
    ways = [METHODS[known.name] for known in family.methods]
    only = f"it takes {' and '.join(ways)} alone" if ways else "it is for making pictures only"
    return f"{METHODS[method]} of {family.title} is impossible: {only}; {instead}"


def resolution_faults(family: ModelFamily, resolution_px: int, force: bool) -> list[str]:
    """What is wrong with training the family at that many pixels a side, a sentence each; `force` allows the unusual."""
    low, high = family.allowed_px
    step = family.latent_factor * 8
    found = []
    if not low <= resolution_px <= high:
        found.append(f"resolution_px is {resolution_px}, not {low} to {high} ({family.title})")
    elif not force and (warning := resolution_warning(family, resolution_px)):
        found.append(f"{warning}; --force (force=true) takes it all the same")
    if resolution_px % step:
        found.append(f"resolution_px is {resolution_px}, not a multiple of {step}")
    return found


def resolution_warning(family: ModelFamily, resolution_px: int) -> str:
    """What to expect of a size that the family was not made for, as a sentence; empty for a usual one."""
    low, high = family.usual_px
    if low <= resolution_px <= high:
        return ""
    happens = "subjects come out doubled" if resolution_px > high else "pictures lose their detail"
    return (
        f"resolution_px is {resolution_px}, but {family.title} was made at {family.native_px} px and {happens} "
        f"outside {low} to {high}"
    )


def need_web_ui(family: ModelFamily, web_ui: str) -> None:
    """RecipeError with what is possible unless that web UI, one of WEB_UIS, runs the family."""
    if one_of("web_ui", web_ui, *WEB_UIS) not in family.web_uis:
        runs = _names(other for other in FAMILIES.values() if web_ui in other.web_uis)
        hint = f"use {' or '.join([*family.web_uis, 'studio'])} for it; {web_ui} runs: {runs}"
        raise RecipeError(f"{web_ui} cannot run {family.title}", hint)


def need_controlnet(family: ModelFamily, made_for: ModelFamily, controlnet: str = "this ControlNet") -> None:
    """RecipeError unless a ControlNet that was made for one family fits another. controlnet: what to call it."""
    if made_for.controlnets != family.controlnets:
        fits = _names(other for other in FAMILIES.values() if other.controlnets == family.controlnets)
        takes = _names(other for other in FAMILIES.values() if other.controlnets == made_for.controlnets)
        hint = f"choose a ControlNet made for: {fits}; or a base model of: {takes}"
        raise RecipeError(f"{controlnet} is made for {made_for.title}, not for {family.title}", hint)


def _names(families: Iterable[ModelFamily]) -> str:
    return ", ".join(family.name for family in families)
