"""The score, fixed in code before any model was scored with it.

likeness  the mean, over the generated pictures of the subject, of the mean cosine between a picture's vector and the
          vectors of all held-out photos. Held-out photos are squares, by the session's crop, of photos of the subject
          that training never sees. `real` is the same for the training photos: what a perfect model would reach.
rise      (trained - base) / (real - base): 0 is no better than the base model, 1 is as like as real photos are.
agreement the share of pictures of other prompts, without the subject, in which the scorer names the prompt's thing first.
drift     agreement of the base minus that of the trained model: what training made it forget.
same      the mean cosine between the base's and the trained model's picture of the same other prompt and seed.

Blind spots, to be kept in mind when reading the figures:
- A vector holds what its scorer was trained to tell apart. The tiny base's judge tells 104 drawn things apart: it sees
  shape and colour, hardly any lettering or texture, and photographs are strange to it. DINO sees texture and parts.
- Background counts: photos taken in one room are alike because of the room, for `real` as for the trained model.
- Copies score best: a model that repeats one training photo gets a high likeness. Variety is not measured.
- The subject is drawn by the instance prompt alone, and agreement and drift are measured on other prompts: whether the
  subject can be put elsewhere or beside another thing is in no figure, and needs pictures of one's own (`fsd generate`).
- Agreement needs nameable pictures only, not good ones, and 20 things stand for all that the base knows.
- A blurred average of the subject can be nearer to all held-out photos than a real photo is: a rise above 1 is no
  better than real (seen after the metric was fixed, on the demo's photographs cut close to the box).
- Means hide single failures: the grid is there to be looked at.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fsd.generate.scorers import Vectors

LEAST_ROOM = 0.01
"""Where base and real differ by less than this cosine, the scorer does not see the subject, and a rise means nothing."""


@dataclass(frozen=True)
class Score:
    """The figures of one session. likeness_*, same: cosines. agreement_*, drift: shares. rise: None where it means nothing."""

    likeness_base: float
    likeness_trained: float
    likeness_real: float
    rise: float | None
    agreement_base: float
    agreement_trained: float
    drift: float
    same: float

    def to_json(self) -> dict[str, Any]:
        """The figures rounded to four digits."""
        return {name: None if value is None else round(value, 4) for name, value in asdict(self).items()}


def likeness(pictures: Vectors, held_out: Vectors) -> float:
    """The mean cosine of every picture to every held-out photo."""
    return float((pictures @ held_out.T).mean())


def rise(base: float, trained: float, real: float) -> float | None:
    """How far of the way from the base's likeness to the real photos' the trained model came; None without a way."""
    return (trained - base) / (real - base) if real - base >= LEAST_ROOM else None


def same(before: Vectors, after: Vectors) -> float:
    """The mean cosine of pictures with the same prompt and seed before and after."""
    return float((before * after).sum(axis=1).mean())


def share(right: list[bool]) -> float:
    """The share that is right; NaN of nothing."""
    return float(np.mean(right)) if right else math.nan
