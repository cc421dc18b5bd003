"""What a save costs the training loop: a full-size random SD 1.5 (UNet, fp32, AdamW: 10 GB of state), saved once on the way.

    python tests/benchmarks/save_stall.py [--work build/benchmarks]

The time of every step, stamped where its batch is made. Lost is what the steps from the save to the end took more than
the median step before it: the files' writing, which the loop waits for, and the slower steps beside the rest of the save
(flushing, hashing, reading back), which it does not. The share is of the default interval, 500 steps.
Needs 20 GB of memory and 25 GB of disk; delete the folder afterwards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import train_step  # noqa: E402
from train_children import OURS, measure  # noqa: E402

STEPS, SAVED_AT = 24, 8
GOAL = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    work = parser.parse_args().work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    session = train_step.make_session(work, train_step.build(work, "full"), "fsd", STEPS)
    recipe = json.loads((session / "recipe.json").read_text())
    every = recipe["save"]["every_steps"]
    recipe["save"] |= {"every_steps": SAVED_AT, "from_step": SAVED_AT, "keep": 2}
    (session / "recipe.json").write_text(json.dumps(recipe))
    code = OURS.replace(
        "real = batch",
        f"import fsd.train.loop\nfsd.train.loop._save_due = lambda step, _: step == {SAVED_AT}\nreal = batch",
    )
    times, _ = measure(code, work, [str(session), "unet"], sys.executable)  # two steps are left out
    usual = statistics.median(times[: SAVED_AT - 3])
    stall = times[SAVED_AT - 3] - usual
    lost = sum(times[SAVED_AT - 3 :]) - usual * len(times[SAVED_AT - 3 :])
    size = sum(file.stat().st_size for file in session.glob(f"checkpoints/*-{SAVED_AT:06d}/**/*") if file.is_file())
    print(
        f"a step takes {usual:.2f} s; a save of {size / 1e9:.1f} GB stalls the loop for {stall:.1f} s, {lost:.1f} s lost in all"
    )
    for name, seconds in (("stalled", stall), ("lost", lost)):
        print(f"{name}: {seconds / (every * usual):.2%} of {every} steps (goal: under {GOAL:.0%})")
    shutil.rmtree(session.parents[1])


if __name__ == "__main__":
    main()
