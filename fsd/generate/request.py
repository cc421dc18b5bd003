"""What is asked of the generate processes, as a small checked record that travels as JSON."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

from fsd.errors import RecipeError
from fsd.families.family import ModelFamily
from fsd.generate.images import Sampling
from fsd.recipe import Recipe


@dataclass(frozen=True)
class Request:
    """What both processes may be asked. seeds: one picture a prompt and seed. steps, guidance: None: the family's.

    model: "" the newest checkpoints, "base" the untrained model, a checkpoint's name such as "unet-000500", or a CKPT file.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3)
    steps: int | None = None
    guidance: float | None = None
    model: str = ""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The request in a JSON object; RecipeError naming what is unknown, of the wrong type or out of range."""
        try:
            record = json.loads(text)
        except ValueError as fault:
            raise RecipeError(f"the request is not JSON: {fault}", "pass one JSON object") from None
        if not isinstance(record, dict):
            raise RecipeError(f"the request is {record!r}, not a JSON object", "pass one JSON object")
        known = [item.name for item in fields(cls)]
        for name in record:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                meant = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"
                raise RecipeError(f"there is no setting {name!r} for pictures", meant)
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
        request = cls(**values)
        if faults := request.faults():
            raise RecipeError("these pictures cannot be made: " + "; ".join(faults), "change the settings")
        return request

    def faults(self) -> list[str]:
        """Everything wrong with the request, a sentence each."""
        hints = typing.get_type_hints(type(self))
        found = [
            f"{name} is {getattr(self, name)!r}, not {_meaning(hint)}"
            for name, hint in hints.items()
            if not _fits(getattr(self, name), hint)
        ]
        return found or self._value_faults()

    def _value_faults(self) -> list[str]:
        found = [f"seed {seed} is not 0 to 2^63-1" for seed in self.seeds if not 0 <= seed < 2**63]
        if not self.seeds:
            found.append("seeds is empty")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            found.append(f"steps is {self.steps}, not 1 to 1000")
        if self.guidance is not None and not 0 <= self.guidance <= 100:
            found.append(f"guidance is {self.guidance}, not 0 to 100")
        return found

    def sampling(self, family: ModelFamily, width_px: int, height_px: int) -> Sampling:
        """How to make the pictures: as asked, else as the family likes it."""
        steps = family.sample_steps if self.steps is None else self.steps
        guidance = family.guidance if self.guidance is None else float(self.guidance)
        return Sampling(steps, guidance, width_px, height_px)


@dataclass(frozen=True)
class PictureRequest(Request):
    """Pictures to make. prompts: empty means the instance prompt. width_px, height_px: 0 means the recipe's resolution.

    destination: a folder; empty means samples/pictures.
    """

    prompts: tuple[str, ...] = ()
    negative: str = ""
    width_px: int = 0
    height_px: int = 0
    destination: str = ""

    def size(self, recipe: Recipe) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width_px or recipe.resolution_px, self.height_px or recipe.resolution_px

    def _value_faults(self) -> list[str]:
        found = super()._value_faults()
        for name in ("width_px", "height_px"):
            value = getattr(self, name)
            if value and not (64 <= value <= 4096 and value % 8 == 0):
                found.append(f"{name} is {value}, not 64 to 4096 in steps of 8")
        return found


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(part, typing.get_args(hint)[0]) for part in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _meaning(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return "a list of texts" if typing.get_args(hint)[0] is str else "a list of whole numbers"
    return {str: "a text", int: "a whole number"}.get(hint, "a number")
