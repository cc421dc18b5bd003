"""The verbs that look at photos with BLIP-2 or BLIP: questions, how well words fit, what is alike, and teaching it your words.

Captions by it are `pipeline.caption_photos` with the mode blip2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fsd.captioners import found_for, looked, skips
from fsd.data.blip2 import BY
from fsd.data.concept import photos_of
from fsd.data.session import Session
from fsd.errors import RecipeError
from fsd.families.captioners import ASK, MATCH, TEACH
from fsd.needs import need_photos
from fsd.runtime import live, report
from fsd.runtime.process import LOADING, run_stage
from fsd.runtime.report import Result, human_bytes, human_seconds
from fsd.runtime.spool.local_first import working
from fsd.runtime.spool.safe import bring, spool_of
from fsd.stage import take_turn

_SHOWN, _COUNTED = 20, 6


def ask_photos(
    session: Session, question: str, captioner: str = "", set_aside: str = "", quantize: str = "auto"
) -> Result:
    """Ask BLIP-2 the same question about every photo, and show its answers as a table.

    question: such as "Is the face visible?" or "How many people are there?".
    captioner: blip2 (the default), blip2-flan-t5, blip-vqa, OWNER/NAME on the hub, or a folder.
    set_aside: an answer, such as no: the photos so answered leave training, and are kept (edit-captions brings them back).
    quantize: none, int8 or nf4 (default: the first that fits this machine's memory).
    """
    need_photos(session)
    if not question.strip():
        raise RecipeError("the question is empty", 'such as fsd ask-photos NAME "Is the face visible?"')
    found = looked(session, "ask", ASK, captioner or session.recipe().captioner.model, quantize, question=question)
    answers: dict[str, str] = found["answers"]
    groups: dict[str, list[str]] = {}
    for name, answer in answers.items():
        groups.setdefault(answer.lower(), []).append(name)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    counted = [f"{len(names)} x {answer!r}" for answer, names in ordered[:_COUNTED]]
    counted += [f"and {len(ordered) - _COUNTED} other answers"] if len(ordered) > _COUNTED else []
    rows = [[name, answer] for name, answer in answers.items()]
    text = f"{report.table(rows, ['photo', question])}\n{', '.join(counted)}{skips(found['skipped'])}"
    chosen = groups.get(set_aside.strip().lower(), []) if set_aside else []
    if chosen:
        from fsd.data.aside import set_aside as put_aside

        put_aside(session, [path for path in photos_of(session.instance_images) if path.name in chosen], BY)
    if set_aside:
        text += f"\nset aside: {', '.join(chosen) or f'none, for no answer is {set_aside!r}'}"
    return Result(text, answers=answers, groups=groups, skipped=found["skipped"], set_aside=chosen)


def score_captions(session: Session, captioner: str = "", quantize: str = "auto") -> Result:
    """Score how well each caption fits its photo, the worst first.

    captioner: blip2-itm (the default), blip-itm, OWNER/NAME on the hub, or a folder.
    quantize: as for ask-photos.
    """
    need_photos(session)
    found = looked(session, "match", MATCH, captioner or session.recipe().captioner.matcher, quantize, captions=True)
    scores: dict[str, dict[str, Any]] = found["scores"]
    ordered = sorted(scores.items(), key=lambda item: item[1]["matching"])
    rows = [[name, f"{one['matching']:.2f}", f"{one['contrast']:.2f}", one["caption"]] for name, one in ordered]
    told = report.table(rows, ["photo", "matching", "contrast", "caption"]) if rows else "no photo has a caption yet"
    return Result(f"{told}{skips(found['skipped'])}", scores=dict(ordered), skipped=found["skipped"])


def score_pictures(
    session: Session, prompt: str, *pictures: str, captioner: str = "", quantize: str = "auto"
) -> Result:
    """Score how well pictures show what they were asked for, the best first.

    prompt: what they were to show; {identifier} and {class} are filled in.
    pictures: their files.
    captioner, quantize: as for score-captions.
    """
    words = session.recipe().prompt(prompt)
    files = [Path(picture).expanduser() for picture in pictures]
    if not files:
        raise RecipeError(
            "no picture is named", 'such as fsd score-pictures NAME "a dog in the snow" samples/pictures/*.png'
        )
    if lost := [str(file) for file in files if not file.is_file()]:
        raise RecipeError(
            f"there is no picture {lost[0]}", "give the files of pictures, such as samples/pictures/*.png"
        )
    pairs = [[str(file.resolve()), words] for file in files]
    found = looked(session, "match", MATCH, captioner or session.recipe().captioner.matcher, quantize, pictures=pairs)
    scored = sorted(zip(map(str, files), found["scores"], strict=True), key=lambda item: -item[1]["matching"])
    rows = [[name, f"{one['matching']:.2f}", f"{one['contrast']:.2f}"] for name, one in scored]
    return Result(report.table(rows, ["picture", "matching", "contrast"]), scores=dict(scored), prompt=words)


def find_photos(session: Session, words: str, captioner: str = "", quantize: str = "auto") -> Result:
    """Find the photos that are nearest to words, the nearest first.

    words: such as "from behind" or "on the beach".
    captioner, quantize: as for score-captions.
    """
    need_photos(session)
    if not words.strip():
        raise RecipeError("there are no words to look for", 'such as fsd find-photos NAME "on the beach"')
    found = looked(session, "match", MATCH, captioner or session.recipe().captioner.matcher, quantize, words=words)
    near = dict(sorted(found["near"].items(), key=lambda item: -item[1]))
    rows = [[name, f"{value:.3f}"] for name, value in list(near.items())[:_SHOWN]]
    more = f"\nand {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
    return Result(f"{report.table(rows, ['photo', 'nearness'])}{more}{skips(found['skipped'])}", near=near)


def find_duplicates(session: Session, least: float = 0.95, captioner: str = "", quantize: str = "auto") -> Result:
    """Find photos that show nearly the same, such as bursts; nothing is deleted.

    least: how alike they are at least, 0 to 1.
    captioner, quantize: as for score-captions.
    """
    need_photos(session)
    if not 0 < least <= 1:
        raise RecipeError(f"least is {least}, not above 0 and at most 1", "0.95 finds bursts, 0.99 copies")
    found = looked(session, "match", MATCH, captioner or session.recipe().captioner.matcher, quantize, alike=least)
    rows = [[one, other, f"{value:.3f}"] for one, other, value in found["alike"]]
    told = report.table(rows, ["photo", "photo", "alike"]) if rows else f"no two photos are alike by {least} or more"
    return Result(f"{told}{skips(found['skipped'])}", alike=found["alike"], skipped=found["skipped"])


def teach_captioner(
    session: Session, captioner: str = "", steps: int | None = None, learning_rate: float | None = None,
    rank: int | None = None, fork: bool = False,
) -> Result:  # fmt: skip
    """Teach BLIP-2 your words: it learns the captions that you wrote or corrected. Run it again to go on.

    captioner: blip2 (the default), blip2-flan-t5, OWNER/NAME on the hub, or a folder.
    steps: how many (default: 200).
    learning_rate: default 1e-5.
    rank: of a LoRA on the language model beside the Q-Former (default: 0, none).
    fork: go on from the last checkpoint although the captions or the settings have changed since.
    """
    need_photos(session)
    given = {"model": captioner or None, "steps": steps, "learning_rate": learning_rate, "rank": rank}
    before = session.recipe()
    recipe = before.changed(**{f"captioner.{name}": value for name, value in given.items() if value is not None})
    folder = found_for(recipe.checked().captioner.model, TEACH)
    if recipe != before:
        session.save_recipe(recipe)
    take_turn(session)
    report.say(LOADING.format("captioner"))
    plots = [place / "loss.png" for place in (working(session.logs), session.logs)]
    try:
        with live.shown(plots):
            request = json.dumps({"folder": str(folder), "fork": fork})
            found = run_stage("fsd.captioner.teach", str(session.folder), request)
    finally:
        bring(spool_of(session.folder))
    training_s = found.get("seconds", {}).get("training", 0.0)
    measured = "captions kept from learning" if found["apart"] else "these captions, of too few to keep some apart"
    text = (
        f"captioner: {found['steps']} steps on the captions of {found['photos']} photos"
        f"{f', in {human_seconds(training_s)}' if training_s >= 1 else ''}\n"
        f"loss on {measured}: {found['before']:.3f} before, {found['after']:.3f} after\n"
        f"{found['adapter']} ({human_bytes(found['adapter_bytes'])}); caption_photos uses it from now on"
    )
    return Result(f"{text}{skips(found['skipped'])}", **found)
