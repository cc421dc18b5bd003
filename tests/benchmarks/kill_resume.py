"""kill -9 at random moments of a run over both stages, resumed each time: are the final weights those of a whole run?

    python tests/benchmarks/kill_resume.py [--kills 100] [--seed 0] [--whole-verb]

Trains a micro model of the SD 1.x layout (64 px, both stages, a save every other step) without interruption; then again,
killed and resumed, run after run, until the training process was killed so many times. A kill counts if the process died
of it while it held the session. Every other run is on a folder with a local twin, from which the spool brings checkpoints
to "Drive"; there every other kill takes the machine along: the twin is deleted, and what goes on has Drive alone. Each run
is resumed to its end and compared, bit for bit: the final weights of both stages, the CKPT but for its date, and each
stage's last optimizer state, unless it was lost with a machine. Exits with 1 if anything differs.

Moments are spread evenly over the CPU time that a stage has left, each in a process that is forked with torch imported
(tests/kills.py says why that is the same). --whole-verb: cold processes of `fsd train-...` instead; half of the kills end
both them and the training process, half the verb alone, which has the training process save and end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.update(PYTHONPATH=os.pathsep.join(sys.path[:2]), HF_HUB_OFFLINE="1", PYTHONWARNINGS="ignore")

from kill_verbs import Verb, VerbAlone  # noqa: E402
from kills import Pace, Training, uninterrupted  # noqa: E402
from left_by_kill import Disk  # noqa: E402
from micro import make_folder, make_micro_session  # noqa: E402

from fsd import pipeline  # noqa: E402
from fsd.data.session import Session  # noqa: E402
from fsd.runtime.files import sha256  # noqa: E402
from fsd.runtime.spool.local_first import FSD_LOCAL, forget, working  # noqa: E402

STAGES = {"text_encoder": 16, "unet": 12}
PLAIN, TWIN = "plain folder", "Drive with a local twin"
KILLS_A_RUN = 10
WHERE = ("before the first step", "in a step", "in a save", "after the last save")


class Runs:
    """Runs of one recipe, each from the same beginning. counts: of the kills that landed, by where they did."""

    def __init__(self, folder: Path, seed: int, victims: list[type[Training]]) -> None:
        self.folder, self.output, self.untouched = folder, folder / "output", folder / "untouched"
        self.moments, self.victims, self.counts = random.Random(seed), victims, Counter[str]()
        self.session = make_micro_session(folder, make_folder(folder / "model"), STAGES)
        shutil.copytree(self.session.folder, self.untouched)

    def whole(self, place: str) -> dict[str, Pace]:
        """A run that nobody interrupts."""
        self._begin(place)
        return {stage: uninterrupted(self.session, stage, steps, self.output) for stage, steps in STAGES.items()}

    def killed(self, place: str, paces: dict[str, Pace], wanted: dict[str, int]) -> Counter[str]:
        """A run that is killed so often in each stage unless it ends before, and resumed to its end; the kills that landed."""
        self._begin(place)
        landed = Counter[str]()
        for stage in STAGES:
            while landed[stage] < wanted[stage] and self._kill(stage, paces[stage], wanted[stage] - landed[stage]):
                landed[stage] += 1
                if place == TWIN and landed.total() % 2:
                    self.counts["machine lost"] += 1
                    forget(self.session.folder)
            self.victims[0](self.session, stage, self.output).ends_well()
        return landed

    def _begin(self, place: str) -> None:
        os.environ.pop(FSD_LOCAL, None)
        if place == TWIN:
            os.environ[FSD_LOCAL] = str(self.folder / "local")
            forget(self.session.folder)
        shutil.rmtree(self.session.folder)
        shutil.copytree(self.untouched, self.session.folder)

    def _kill(self, stage: str, pace: Pace, kills: int) -> bool:
        """Start a stage and kill it at the first of so many moments; whether that landed."""
        disk, victim = Disk(self.session, stage), self.victims[self.counts["kills"] // 2 % len(self.victims)]
        moment_s = pace.left_s(disk.step) * min(self.moments.random() for _ in range(kills))
        training = victim(self.session, stage, self.output)
        if not training.reaches(moment_s):
            training.ends_well()
            return False
        if not training.kill():
            return False
        done = disk.step == STAGES[stage]
        where = WHERE[2 if disk.cut_save() else 3 if done else 1 if training.has_trained else 0]
        self.counts.update(["kills", stage, "verb alone" if victim is VerbAlone else where])
        self.counts.update({"behind": disk.is_behind(), "in a copy": disk.cut_copy()})
        return True


def result(session: Session) -> dict[str, str]:
    """The SHA-256 of what a run ended with; weights as they lie on Drive."""
    found = {"CKPT": _undated(Path(pipeline.save_ckpt(session)["ckpt"]))}
    for stage, steps in STAGES.items():
        found[stage] = sha256(next((session.checkpoints / f"{stage}-{steps:06d}" / stage).glob("*.safetensors")))
        for place in (session.checkpoints, working(session.checkpoints)):
            if (state := place / f"{stage}-{steps - 2:06d}" / "optimizer.safetensors").exists():
                found[f"{stage}'s optimizer"] = sha256(state)
    return found


def _undated(ckpt: Path) -> str:
    content = ckpt.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    del header["__metadata__"]["modelspec.date"]
    return hashlib.sha256(json.dumps(header).encode() + content[start:]).hexdigest()


def try_kills(runs: Runs, kills: int) -> int:
    """How many kills were in runs that ended as the whole run did; prints each run.

    A kill that came too late, after its stage had ended, is made up for by a later run of the same kind.
    """
    runs_planned, equal = max(2, kills // KILLS_A_RUN), 0
    paces = {place: runs.whole(place) for place in (TWIN, PLAIN)}
    expected = result(runs.session)
    planned = [(PLAIN, TWIN)[number % 2] for number in range(runs_planned)]
    shares = [kills // runs_planned + (number < kills % runs_planned) for number in range(runs_planned)]
    queue = [(place, {"text_encoder": share // 2, "unet": share - share // 2})
             for place, share in zip(planned, shares, strict=True)]  # fmt: skip
    for number, (place, wanted) in enumerate(queue, start=1):
        made = runs.killed(place, paces[place], wanted)
        landed, missed = made.total(), {stage: wanted[stage] - made[stage] for stage in STAGES}
        if any(missed.values()) and number < 3 * runs_planned:
            queue.append((place, missed))
        found = result(runs.session)
        different = [name for name in found if found[name] != expected[name]]
        equal += 0 if different else landed
        told = f"DIFFERENT: {', '.join(different)}" if different else f"equal: {', '.join(found)}"
        print(f"run {number}, {place}: {landed} kills, {told}", flush=True)
    return equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole-verb", action="store_true")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), asked.seed, [Verb, VerbAlone] if asked.whole_verb else [Training])
        equal = try_kills(runs, asked.kills)
    counts = runs.counts
    print(
        f"by stage: {', '.join(f'{counts[stage]} {stage}' for stage in STAGES)}; {counts['verb alone']} of the verb alone"
    )
    print(f"by where they met the process: {', '.join(f'{counts[where]} {where}' for where in WHERE)}")
    print(f"with the twin: {counts['machine lost']} took the machine along, {counts['in a copy']} in a copy to Drive,")
    print(f"  {counts['behind']} while Drive lacked the newest checkpoint; {time.monotonic() - began:.0f} s in all")
    print(f"{equal} of {asked.kills} kills, each resumed, ended with the bits of the uninterrupted run")
    sys.exit(equal != asked.kills)


if __name__ == "__main__":
    main()
