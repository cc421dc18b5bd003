"""Frozen dataclasses as settings: built from JSON, checked by their type hints."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from fsd.errors import RecipeError, meant

FREE = {"free": True}
"""Marks a setting that may change when a run goes on: the final weights do not depend on it."""


def build(kind: type, record: dict[str, Any], where: str = "") -> Any:
    """The settings that a JSON object describes; missing ones take their defaults, unknown ones are a RecipeError."""
    if faults := unknown_names(kind, record, where):
        raise RecipeError("; ".join(what for what, _ in faults), "; ".join(dict.fromkeys(hint for _, hint in faults)))
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in record.items():
        if is_dataclass(hints[name]) and isinstance(value, dict):
            value = build(hints[name], value, f"{name}.")
        elif get_origin(hints[name]) is tuple and isinstance(value, list):
            value = tuple(value)
        elif type(value) is int and float in (hints[name], *get_args(hints[name])):
            value = float(value)
        values[name] = value
    return kind(**values)


def unknown_names(kind: type, record: dict[str, Any], where: str = "") -> list[tuple[str, str]]:
    """(what is wrong, what was meant) for every name in a JSON object that is no setting, also inside nested settings."""
    hints = typing.get_type_hints(kind)
    known = {item.name for item in fields(kind)}
    found = []
    for name, value in record.items():
        if name not in known:
            close = get_close_matches(name, known, n=1) or _inside(kind, name)
            names = " or ".join(repr(where + one) for one in close)
            hint = f"did you mean {names}?" if close else f"known are: {', '.join(sorted(known))}"
            found.append((f"there is no setting {where + name!r}", hint))
        elif is_dataclass(hints[name]) and isinstance(hints[name], type) and isinstance(value, dict):
            found += unknown_names(hints[name], value, f"{name}.")
    return found


def _inside(kind: type, name: str) -> list[str]:
    """The settings inside other settings that have a name, such as "unet.steps" for "steps"."""
    hints = typing.get_type_hints(kind)
    inner = {item.name: hints[item.name] for item in fields(kind) if is_dataclass(hints[item.name])}
    return [f"{outer}.{name}" for outer, hint in inner.items() if name in {item.name for item in fields(hint)}]


_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "an object of settings"}
_LISTS = {int: "a list of whole numbers", str: "a list of texts"}


def type_faults(value: Any, where: str = "") -> list[str]:
    """A sentence for every setting whose value is not of its type, also inside nested settings."""
    found = []
    hints = typing.get_type_hints(type(value))
    for item in fields(value):
        inner, hint, name = getattr(value, item.name), hints[item.name], where + item.name
        if not _fits(inner, hint):
            found.append(f"{name} is {inner!r}, not {_meaning(hint)}")
        elif is_dataclass(hint):
            found += type_faults(inner, f"{name}.")
    return found


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(part, get_args(hint)[0]) for part in value)
    return type(value) in (get_args(hint) or (hint,))


def _meaning(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(filter(None, get_args(hint)))}"
    if get_origin(hint) is tuple:
        return _LISTS[get_args(hint)[0]]
    kind = (get_args(hint) or (hint,))[0]
    return f"an object with {', '.join(item.name for item in fields(kind))}" if is_dataclass(kind) else _KINDS[kind]


def without_free(value: Any) -> dict[str, Any]:
    """The settings as a nested dictionary, without those marked FREE."""
    kept = {}
    for item in fields(value):
        if not item.metadata.get("free"):
            inner = getattr(value, item.name)
            kept[item.name] = without_free(inner) if is_dataclass(inner) else inner
    return {name: inner for name, inner in kept.items() if inner != {}}


def outside(name: str, value: float | None, low: float, high: float) -> list[str]:
    """A sentence for a number that is not in its range; none for one that is, or is left open."""
    return [] if value is None or low <= value <= high else [f"{name} is {value}, not {low} to {high}"]


MOST_STEPS = 999
"""Of sampling; at 1000 DDIM and PNDM run off their schedule."""


def drawing_faults(steps: int | None, guidance: float | None, seeds: Iterable[int], where: str = "") -> list[str]:
    """A sentence for every number of an order for pictures that is out of range. where: before the names, "pictures."."""
    found = [f"{where}seed is {seed}, not 0 to 2^63-1" for seed in seeds if not 0 <= seed < 2**63]
    return [*found, *outside(f"{where}steps", steps, 1, MOST_STEPS), *outside(f"{where}guidance", guidance, 0, 100)]


def one_of(name: str, value: str, *choices: str) -> str:
    """`value` if it is one of the choices; a RecipeError that lists them otherwise."""
    if value not in choices:
        raise RecipeError(f"{name} is {value!r}", f"{meant(value, choices)}choose one of: {', '.join(choices)}")
    return value
