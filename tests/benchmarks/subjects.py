"""Is a subject learned, and what is forgotten? Three subjects, five seeds each, on the tiny base model.

    python tests/benchmarks/subjects.py [--root build/subjects] [--subjects "tea box" gadget woodcut] [--seeds 5]
        [--method full] [--no-prior] [--set unet.steps=400 ...]

Each run is a session of its own: ten photos to train on and four held out, class images, the stages of the method, the
score. A run that was cut short goes on, a finished one is not done again. Prints a table and draws a picture of each
subject. Wanted of every run: a rise of at least half, and a drift of less than a tenth; without prior preservation,
which says what it is good for, only the rise.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from subjects import SUBJECTS  # noqa: E402

from fsd import pictures, pipeline  # noqa: E402
from fsd.data.crop import crop_photos  # noqa: E402
from fsd.data.photos import add_photos  # noqa: E402
from fsd.data.session import Session  # noqa: E402
from fsd.demo import demo_recipe  # noqa: E402
from fsd.runtime import files, report  # noqa: E402

HELD_OUT = 4
SCORE_SEEDS = 3
LEAST_RISE, MOST_DRIFT = 0.5, 0.1
LORA = {
    "method": "lora", "lora.steps": 500, "lora.learning_rate": 5e-3, "lora.rank": 16,
    "schedule": "cosine", "prior.weight": 2.0,
}  # fmt: skip
"""What suits the tiny base model, as `fsd.demo` has it for whole weights; every other setting is the same."""
NO_PRIOR: dict[str, Any] = {"prior.images": 0, "prior.prompts": ()}
STAGE_VERBS = {"full": (pipeline.train_text_encoder, pipeline.train_unet), "lora": (pipeline.train_lora,)}
CLASS_WORDS = {"tea box": "box", "gadget": "robot", "woodcut": "picture"}


def run(root: Path, kind: str, subject: str, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Train and score one subject with one seed; return its figures, from the disk when it was done before.

    kind: what tells these runs from those of other methods under the same root.
    """
    name = "-".join([*subject.split(), str(seed), *kind.split()])
    result = root / "results" / f"{name}.json"
    if result.exists():
        return json.loads(result.read_text(encoding="utf-8"))
    report.say(f"\n{name}")
    began = time.monotonic()
    session = pipeline.open_session(name, str(root))
    recipe = demo_recipe(CLASS_WORDS[subject], seed).changed(samples__at_end=False, **changes)
    session.save_recipe(recipe)
    add_photos(session, SUBJECTS[subject](root / "photos" / subject), hold_out=HELD_OUT)
    crop_photos(session)
    for other in session.folder.parent.glob(f"{'-'.join(subject.split())}-{seed}*/class_images"):
        if recipe.prior.images and other != session.class_images:  # the same pictures, made once
            shutil.copytree(other, session.class_images, dirs_exist_ok=True)
    marks = {"prepare": time.monotonic() - began}
    for verb in (*STAGE_VERBS[recipe.method], pictures.score):
        start = time.monotonic()
        found = verb(session, *([SCORE_SEEDS] if verb is pictures.score else []))
        marks[verb.__name__] = time.monotonic() - start
    if found["rise"] is None:
        found["rise"] = math.nan
    figures = {**found, "subject": subject, "seed": seed, "seconds": {k: round(v, 1) for k, v in marks.items()}}
    figures["pictures"] = _pictures(session)
    files.write_json(result, figures)
    return figures


def as_table(results: list[dict[str, Any]]) -> str:
    """A line a subject: means over its seeds, with the worst rise and drift."""
    rows = []
    for subject in dict.fromkeys(result["subject"] for result in results):
        mine = [result for result in results if result["subject"] == subject]

        def mean(name: str, mine: list[dict[str, Any]] = mine) -> str:
            values = [result[name] for result in mine]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            return f"{statistics.mean(values):.3f}{spread}"

        names = ("likeness_base", "likeness_real", "likeness_trained", "rise", "agreement_base", "agreement_trained")
        worst = [f"{min(result['rise'] for result in mine):.2f}", f"{max(result['drift'] for result in mine):.3f}"]
        rows.append([subject, str(len(mine)), *map(mean, names), mean("drift"), *worst])
    head = ["subject", "seeds", "base", "real", "trained", "rise", "top-1 base", "top-1 trained", "drift", "least rise"]
    return report.table(rows, [*head, "most drift"])


def draw(root: Path, kind: str, results: list[dict[str, Any]]) -> list[Path]:
    """A picture of each subject: held-out photos, the base model, and the trained model of every seed."""
    from PIL import Image

    from fsd.generate import grid

    drawn = []
    for subject in dict.fromkeys(result["subject"] for result in results):
        mine = [result for result in results if result["subject"] == subject]
        real, base = mine[0]["pictures"]["held_out"], mine[0]["pictures"]["base"]
        named = [("real photos, kept from training", real), ("base model", base)]
        named += [(f"trained, seed {result['seed']}", result["pictures"]["trained"]) for result in mine]
        rows = [grid.Row(label, [Image.open(path) for path in paths]) for label, paths in named]
        title = f"{subject} {kind}".strip()
        drawn.append(root / f"{title}.png")
        grid.contact_sheet(rows, title=title).save(drawn[-1])
    return drawn


def _pictures(session: Session) -> dict[str, list[str]]:
    """Paths of a few pictures of the subject: held-out squares, by the base and by the trained model."""
    from fsd.data.dataset import held_out_photos
    from fsd.data.photos import open_photo, square
    from fsd.runtime.process import run_stage

    found = {}
    for model in ("base", ""):
        asked = {"seeds": list(range(6)), "model": model, "destination": str(session.samples / (model or "trained"))}
        made = run_stage("fsd.generate.sample", str(session.folder), "--request", json.dumps(asked))
        found[model or "trained"] = made["images"]
    found["held_out"] = []
    for photo in held_out_photos(session):
        path = session.samples / f"held out {photo.path.stem}.png"
        square(open_photo(photo.path), photo.box, session.recipe().resolution_px).save(path)
        found["held_out"].append(str(path))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT / "build" / "subjects")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--method", choices=STAGE_VERBS, default="full")
    parser.add_argument("--no-prior", action="store_true", help="no class images, everything else the same")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings of the recipe")
    asked = parser.parse_args()
    changes = (LORA if asked.method == "lora" else {}) | (NO_PRIOR if asked.no_prior else {})
    changes |= {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in asked.set)}
    kind = " ".join(["lora"] * (asked.method == "lora") + ["no prior"] * asked.no_prior)
    root = asked.root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    results = [run(root, kind, subject, seed, changes) for seed in range(asked.seeds) for subject in asked.subjects]
    results.sort(key=lambda result: (asked.subjects.index(result["subject"]), result["seed"]))
    for picture in draw(root, kind, results):
        report.say(str(picture))
    report.say("\n" + as_table(results))
    most_drift = math.inf if asked.no_prior else MOST_DRIFT
    good = [result["rise"] >= LEAST_RISE and result["drift"] < most_drift for result in results]
    bound = "" if asked.no_prior else f" with a drift below {MOST_DRIFT}"
    report.say(f"{sum(good)} of {len(good)} runs rise by at least {LEAST_RISE}{bound}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
