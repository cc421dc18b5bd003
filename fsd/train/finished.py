"""Whether a stage has nothing left to do, known without PyTorch: one that is run again costs no process."""

from __future__ import annotations

from typing import Any

from fsd.data.lock import writing
from fsd.data.session import Session
from fsd.errors import FsdError
from fsd.recipe import STAGES
from fsd.runtime import report
from fsd.train.identity import check_same_run, identity_of, stage_before
from fsd.weights.base_model import find_base_model
from fsd.weights.checkpoint import list_checkpoints, newest_checkpoint, step_of


def is_finished(session: Session, stage: str) -> bool:
    """Whether the stage's process would find all its steps done, by the same settings and photos.

    Where anything is in question it is not: the process then says what.
    """
    doubts: list[str] = []
    try:
        with writing(session):
            recipe = session.recipe().checked()
            steps = getattr(recipe, stage).steps
            if max(map(step_of, list_checkpoints(session.checkpoints, stage)), default=-1) < steps:
                return False  # which is known without reading gigabytes
            start = newest_checkpoint(session.checkpoints, stage, doubts.append)
            if start is None or start.step < steps:
                return False
            base = find_base_model(recipe.base_model or recipe.family)
            before = stage_before(session, recipe, stage, base, doubts.append)
            facts = {"run": identity_of(session, recipe, stage, base, before), "machine": start.facts["machine"]}
            check_same_run(start, facts, fork=False)
    except (FsdError, KeyError):
        return False
    return not doubts


def already_done(stage: str, steps: int) -> dict[str, Any]:
    """What a stage gives back of which all steps were done before."""
    report.say(f"{STAGES[stage]}: all {steps} steps are done already")
    return {"stage": stage, "steps": steps, "from_step": steps, "loss": None}
