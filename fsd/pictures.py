"""Verbs that show what was learned: pictures of your subject, and figures about them."""

from __future__ import annotations

import json
from pathlib import Path

from fsd.data.session import Session
from fsd.errors import RecipeError
from fsd.families import get_family
from fsd.naming import need_known_places
from fsd.needs import base_folder, counting_up, need_training
from fsd.runtime import report
from fsd.runtime.handover import held
from fsd.runtime.process import LOADING, run_stage
from fsd.runtime.report import Result
from fsd.settings import drawing_faults


def generate(
    session: Session,
    *prompts: str,
    negative: str = "",
    images: int = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    model: str = "",
    compare: bool = False,
) -> Result:
    """Make pictures with the trained model, before or after training, and a labelled grid of them.

    prompts: what to draw; {identifier} and {class} are filled in (default: your subject).
    negative: what to avoid.
    images: pictures of each prompt.
    seed: of the first picture of each prompt; the others' count up from it.
    steps, guidance: of the sampler (default: the family's).
    model: "base", a saved step such as unet-000500, a CKPT or a LoRA file (default: the newest step).
    compare: also draw what the base model makes of the same, without what was trained, below each.
    """
    if faults := drawing_faults(steps, guidance, (seed,)):
        raise RecipeError("these pictures cannot be made: " + "; ".join(faults), "change the settings")
    for prompt in prompts:
        need_known_places("the prompt", prompt)
    base_folder(session)  # fetched here where it is missing: the child has no tokens
    recipe = session.recipe()
    family = get_family(recipe.family)
    request = {
        "prompts": [recipe.prompt(prompt) for prompt in prompts or ("",)],
        "negative": negative,
        "seeds": counting_up("images", images, seed),
        "steps": family.sample_steps if steps is None else steps,
        "guidance": family.guidance if guidance is None else guidance,
        "model": model,
        "compare": compare,
    }
    report.say(LOADING.format("pictures"))
    made = run_stage("fsd.generate.sample", str(session.folder), "--request", json.dumps(request))
    count = len(made["images"])
    return Result(f"{count} picture{'s'[: count > 1]}\n{made['grid']}", picture=Path(made["grid"]), **made)


def score(session: Session, seeds: int = 3, dino: str = "", clip: str = "") -> Result:
    """Measure what was learned: likeness to the held-out photos, and what became of other prompts, before and after.

    seeds: pictures of each prompt: your subject's, and 20 without it, on which agreement and drift are measured.
    dino, clip: folders or hub names of the models that look at the pictures (default: the tiny base model's own judge,
    else facebook/dino-vits16 and openai/clip-vit-base-patch32).
    """
    need_training(session)
    base_folder(session)
    request = json.dumps({"seeds": counting_up("seeds", seeds), "dino": dino, "clip": clip})
    report.say(LOADING.format("score"))
    found = run_stage("fsd.generate.score", str(session.folder), "--request", request, handed=held())
    return Result(found.pop("table"), picture=Path(found["grid"]), **found)
