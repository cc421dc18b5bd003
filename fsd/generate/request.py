"""What is asked of the generate processes, as a small checked record that travels as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from fsd.errors import RecipeError
from fsd.families.family import ModelFamily
from fsd.generate.images import Sampling
from fsd.settings import build, drawing_faults, type_faults


@dataclass(frozen=True)
class Request:
    """What both processes may be asked. seeds: one picture a prompt and seed. steps, guidance: None: the family's.

    model: "" the newest checkpoints, "base" the untrained model, a checkpoint's name such as "unet-000500", a CKPT or a
    LoRA file.
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
        request: Self = build(cls, record)
        if faults := type_faults(request) or request._value_faults():
            raise RecipeError("these pictures cannot be made: " + "; ".join(faults), "change the settings")
        return request

    def _value_faults(self) -> list[str]:
        return drawing_faults(self.steps, self.guidance, self.seeds) + ([] if self.seeds else ["seeds is empty"])

    def sampling(self, family: ModelFamily, size_px: int) -> Sampling:
        """How to make square pictures: as asked, else as the family likes it."""
        steps = family.sample_steps if self.steps is None else self.steps
        guidance = family.guidance if self.guidance is None else self.guidance
        return Sampling(steps, guidance, size_px, size_px)


@dataclass(frozen=True)
class PictureRequest(Request):
    """Pictures to make. prompts: empty means the instance prompt. destination: a folder; empty means samples/pictures.

    compare: what the untrained model makes of the same prompts and seeds, too. They go into a new numbered folder in the
    destination.
    """

    prompts: tuple[str, ...] = ()
    negative: str = ""
    destination: str = ""
    compare: bool = False
