"""The demo: the whole job on real photographs and the embedded tiny base model, on any machine, in a few minutes."""

from __future__ import annotations

import time
from pathlib import Path

from fsd import pictures, pipeline, upkeep
from fsd.data import session as sessions
from fsd.needs import opened
from fsd.recipe import Recipe
from fsd.runtime import report
from fsd.runtime.report import Result
from fsd.weights.base_model import find_base_model

PHOTOS = Path(__file__).parent / "data" / "demo_photos"
NAME = "tea-box-demo"
HELD_OUT = 4


def demo_recipe(class_word: str = "box", seed: int = 0) -> Recipe:
    """Settings that suit the tiny base model: rates some hundred times, steps a fifth of a full-size model's."""
    return Recipe(
        family="tiny",
        base_model="tiny",
        identifier="sks",
        class_word=class_word,
        caption_template="a photo of {identifier} {class}",
        resolution_px=128,
        batch_size=4,
        seed=seed,
    ).changed(
        text_encoder__steps=100,
        text_encoder__learning_rate=2e-4,
        unet__steps=500,
        unet__learning_rate=5e-4,
        prior__images=182,
        prior__prompts=prior_prompts(class_word),
    )


def prior_prompts(class_word: str) -> tuple[str, ...]:
    """What the class images show: the class itself every thirteenth time, else one of the base's concepts.

    The twenty concepts that the score asks for are left out, so that drift is measured on what nothing protects.
    """
    from fsd_tiny_base import concepts

    from fsd.generate.scorers import scored

    named = [" ".join(f"a photo of {concept['article']} {concept['name']}".split()) for concept in concepts()]
    others = [prompt for prompt in named if prompt not in scored(named)]
    prompts: list[str] = []
    for place, prompt in enumerate(others):
        prompts += [f"a photo of {class_word}", prompt] if place % 12 == 0 else [prompt]
    return tuple(prompts)


def demo(root: str = "") -> Result:
    """The whole job on fourteen real photographs and the embedded tiny base model, in a few minutes on a CPU.

    root: where to put its session (default: the current folder).
    """
    began = time.monotonic()
    folder = root or "."
    find_base_model("tiny")  # what is missing is said before anything is made
    recipe = demo_recipe()
    for old in sessions.list_sessions(folder):
        if old.name == NAME:
            report.say("the last demo's session goes to the bin")
            upkeep.remove_session(old)
    session = opened(NAME, folder)
    session.save_recipe(recipe)
    _say(1, pipeline.add_photos(session, str(PHOTOS), hold_out=HELD_OUT))
    _say(2, pipeline.caption_photos(session))
    _say(3, pipeline.train_text_encoder(session))
    _say(4, pipeline.train_unet(session))
    saved = pipeline.save_ckpt(session)
    _say(5, saved)
    scored = pictures.score(session)
    _say(6, scored)
    seconds = round(time.monotonic() - began, 1)
    text = "\n".join(
        [
            f"done in {seconds:.0f} seconds",
            f"before and after: {scored['grid']}",
            f"your model, one file: {saved['ckpt']}",
            f'draw with it: fsd generate {NAME} --root {folder} "a photo of {{identifier}} {{class}} on a blue background"',
            f"open it in the web UI: fsd webui launch --model {NAME} --root {folder}",
            "with your own photos: fsd open-session NAME, then fsd choose-base-model, add-photos, caption-photos, "
            "train-text-encoder, train-unet, save-ckpt",
        ]
    )
    return Result(text, picture=Path(scored["grid"]), ckpt=saved["ckpt"], seconds=seconds, **scored)


def _say(number: int, result: Result) -> None:
    report.say(f"\n{number}. {result.text}")
