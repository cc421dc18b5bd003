"""How well the subject was learned and what it cost: `python -m fsd.generate.score SESSION_FOLDER --request JSON`.

The figures are those of `fsd.generate.metric`, where their meaning and their blind spots are written down.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from fsd.data.concept import Concept
from fsd.data.dataset import TrainingPhoto, held_out_photos, training_photos
from fsd.data.photos import open_photo, square
from fsd.data.session import Session, open_session_folder
from fsd.errors import SessionError
from fsd.families import get_family
from fsd.generate import grid, images, metric
from fsd.generate.images import Order
from fsd.generate.metric import Score
from fsd.generate.models import Model, open_base, open_model
from fsd.generate.request import Request
from fsd.generate.scorers import Scorer, choose_scorer
from fsd.recipe import Recipe
from fsd.runtime import report
from fsd.runtime.child import stage_main

_SHOWN = 6


@dataclass(frozen=True)
class ScoreRequest(Request):
    """What to score. seeds: one picture of each of 20 other prompts a seed, and four of the subject.

    dino, clip: hub names or folders of the models to look with instead of the base model's own judge.
    """

    seeds: tuple[int, ...] = (0, 1)
    dino: str = ""
    clip: str = ""

    @property
    def subject_seeds(self) -> tuple[int, ...]:
        """Four seeds for each one asked for, none of them used twice."""
        return tuple(4 * seed + place for seed in self.seeds for place in range(4))


@dataclass(frozen=True)
class Drawn:
    """What one model drew. subject: a picture a subject seed. others: a picture a thing and seed."""

    subject: list[Image]
    others: list[Image]


def main(arguments: list[str]) -> dict[str, Any]:
    """What the process does: score a session and return its figures."""
    parser = argparse.ArgumentParser(prog="fsd.generate.score")
    parser.add_argument("session", type=Path)
    parser.add_argument("--request", metavar="JSON", default="{}")
    asked = parser.parse_args(arguments)
    return score(open_session_folder(asked.session), ScoreRequest.from_json(asked.request))


def score(session: Session, request: ScoreRequest) -> dict[str, Any]:
    """The figures of the session's trained model beside the base's, a table of them, and samples/score.png.

    Raises SessionError when no photos are held out or nothing is trained yet.
    """
    recipe = session.recipe().checked()
    own = Concept(recipe.identifier, recipe.class_word)
    every = {"training": training_photos(session), "held out": held_out_photos(session)}
    photos = {name: [one for one in some if (one.concept or own).words == own.words] for name, some in every.items()}
    if not photos["held out"]:
        hint = "add photos with hold_out 4; the score compares with photos that training never saw"
        raise SessionError(f"session {session.name!r} has no held-out photos of {own.words}", hint)
    scorer = choose_scorer(get_family(recipe.family), request.dino, request.clip)
    real = {name: _squares(some, recipe.resolution_px) for name, some in photos.items()}
    model = open_model(session, recipe, request.model)
    if not model.trained:
        raise SessionError(
            f"nothing is trained yet in session {session.name!r}", f"train first: train_{recipe.stages[-1]}"
        )
    base, trained = (_draw(drawing, recipe, request, scorer) for drawing in (open_base(recipe), model))
    found = measure(scorer, real["held out"], real["training"], base, trained, _asked(scorer, request))
    picture = session.samples / "score.png"
    images.save_png(_sheet(recipe, scorer, real["held out"], base, trained, len(request.seeds)), picture)
    facts = {
        "scorer": scorer.name,
        "model": model.name,
        "seeds": list(request.seeds),
        "held_out": len(photos["held out"]),
    }
    return {**found.to_json(), **facts, "table": as_table(found), "grid": str(picture)}


def measure(
    scorer: Scorer, held_out: Sequence[Image], training: Sequence[Image], base: Drawn, trained: Drawn, things: list[str]
) -> Score:
    """The figures of `fsd.generate.metric`. things: what each picture of the others was asked to show."""
    target = scorer.vectors(held_out)
    before, after = (metric.likeness(scorer.vectors(drawn.subject), target) for drawn in (base, trained))
    real = metric.likeness(scorer.vectors(training), target)
    agreed = [metric.share(scorer.shows(drawn.others, things)) for drawn in (base, trained)]
    return Score(
        likeness_base=before,
        likeness_trained=after,
        likeness_real=real,
        rise=metric.rise(before, after, real),
        agreement_base=agreed[0],
        agreement_trained=agreed[1],
        drift=agreed[0] - agreed[1],
        same=metric.same(scorer.vectors(base.others), scorer.vectors(trained.others)),
    )


def as_table(found: Score) -> str:
    """The figures as a table for people."""
    risen = "-" if found.rise is None else f"rise {found.rise:.0%} of the way"
    rows = [
        [
            "likeness to held-out photos",
            f"{found.likeness_base:.3f}",
            f"{found.likeness_trained:.3f}",
            f"{found.likeness_real:.3f}",
            risen,
        ],
        [
            "other prompts drawn right",
            f"{found.agreement_base:.0%}",
            f"{found.agreement_trained:.0%}",
            "-",
            f"drift {found.drift:.1%}",
        ],
        ["other pictures unchanged", "1.000", f"{found.same:.3f}", "-", "cosine before and after"],
    ]
    return report.table(rows, ["", "base", "trained", "real photos", ""])


def _draw(model: Model, recipe: Recipe, request: ScoreRequest, scorer: Scorer) -> Drawn:
    sampling = request.sampling(get_family(recipe.family), recipe.resolution_px)
    orders = [Order(recipe.prompt(), seed) for seed in request.subject_seeds]
    orders += [Order(f"a photo of {thing}", seed) for thing in scorer.things for seed in request.seeds]
    label = "pictures by the trained model" if model.trained else "pictures by the base model"
    made = [image for _, image in images.make_pictures(model.pipeline, orders, sampling, label)]
    return Drawn(made[: len(request.subject_seeds)], made[len(request.subject_seeds) :])


def _asked(scorer: Scorer, request: ScoreRequest) -> list[str]:
    return [thing for thing in scorer.things for _ in request.seeds]


def _squares(photos: Sequence[TrainingPhoto], resolution_px: int) -> list[Image]:
    return [square(open_photo(photo.path), photo.box, resolution_px) for photo in photos]


def _sheet(recipe: Recipe, scorer: Scorer, held_out: Sequence[Image], base: Drawn, trained: Drawn, seeds: int) -> Image:
    """Held-out photos, the subject before and after, and some other prompts before and after."""
    step = max(1, len(scorer.things) // _SHOWN)
    some = range(0, len(scorer.things), step)[:_SHOWN]
    things = [f"a photo of {scorer.things[place]}" for place in some]
    rows = [
        grid.Row("real photos, kept from training", held_out[:_SHOWN]),
        grid.Row(f"base model: {recipe.prompt()}", base.subject[:_SHOWN]),
        grid.Row(f"trained: {recipe.prompt()}", trained.subject[:_SHOWN]),
        grid.Row("base model, other prompts", [base.others[place * seeds] for place in some]),
        grid.Row("trained, other prompts", [trained.others[place * seeds] for place in some], things),
    ]
    return grid.contact_sheet(rows)


if __name__ == "__main__":
    stage_main(main)
