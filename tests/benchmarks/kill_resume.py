"""kill -9 at random moments of a run over both stages, resumed each time: are the final weights those of a whole run?

    python tests/benchmarks/kill_resume.py [--kills 20] [--seed 0]

Trains a micro model of the SD 1.x layout (64 px, both stages, a save every other step) once without interruption; then
runs of the same recipe are killed until there were so many kills, a run that reaches its end being compared and begun
again. A kill's moment is drawn from the time between the stage's start of training and its end. Prints each comparison
and exits with 1 if any differs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from micro import make_folder, make_micro_session  # noqa: E402

from fsd.data.session import Session  # noqa: E402
from fsd.runtime.files import sha256  # noqa: E402

STAGES = {"text_encoder": 30, "unet": 40}


def start(session: Session, stage: str) -> subprocess.Popen[str]:
    """A stage's process, once it has begun to train."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", f"fsd.train.{stage}", str(session.folder)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    while "steps" not in child.stdout.readline() and child.poll() is None:
        pass
    return child


def finish(child: subprocess.Popen[str]) -> float:
    """Seconds until the process ended well."""
    began = time.monotonic()
    output, _ = child.communicate()
    if child.returncode:
        sys.exit(output)
    return time.monotonic() - began


def weights(session: Session) -> list[str]:
    """The SHA-256 of the final weights of both stages."""
    names = [f"{stage}-{steps:06d}/{stage}" for stage, steps in STAGES.items()]
    return [sha256(next((session.checkpoints / name).glob("*.safetensors"))) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    moments = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = make_micro_session(Path(folder), make_folder(Path(folder) / "model"), STAGES)
        untouched = Path(folder) / "untouched"
        shutil.copytree(whole.folder, untouched)
        seconds = {stage: finish(start(whole, stage)) for stage in STAGES}
        expected, kills, runs, equal = weights(whole), 0, 0, 0
        while kills < asked.kills:
            shutil.rmtree(whole.folder)
            shutil.copytree(untouched, whole.folder)
            for stage in STAGES:
                for _ in range(5):
                    child = start(whole, stage)
                    try:
                        child.wait(moments.uniform(0, seconds[stage]))
                        break
                    except subprocess.TimeoutExpired:
                        os.kill(child.pid, signal.SIGKILL)
                        child.wait()
                        kills += 1
                finish(start(whole, stage))
            runs += 1
            same = weights(whole) == expected
            equal += same
            print(f"run {runs}: {kills} kills so far, weights {'equal' if same else 'DIFFER'}", flush=True)
    print(f"{equal} of {runs} runs, killed {kills} times in all, ended with the weights of an uninterrupted run")
    sys.exit(equal != runs)


if __name__ == "__main__":
    main()
