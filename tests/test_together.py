"""Two processes on one stage, as `accelerate launch` starts them: what one process of twice the batch does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from micro import make_folder, make_micro_session
from safetensors.torch import load_file

from fsd.data.session import Session, open_session_folder

ROOT = Path(__file__).parents[1]
STEPS = {"text_encoder": 3, "unet": 4}


def train(session: Session, stage: str, processes: int, stop_after: int = 0) -> subprocess.CompletedProcess[str]:
    """A stage by that many processes; stop_after: of them the second is told to stop in that step."""
    launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone", "--no-python",
              sys.executable] if processes > 1 else []  # fmt: skip
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
    code += "import os, signal\nfrom fsd.train import batch, prepare\n"
    code += f"from fsd.train import {stage} as module\nfrom fsd.runtime.child import stage_main\n"
    if stop_after:
        code += "real = batch.Batches.at\ndef at(self, step, device):\n"
        code += f"    if step == {stop_after - 1} and self.process == 1: os.kill(os.getpid(), signal.SIGTERM)\n"
        code += "    return real(self, step, device)\nbatch.Batches.at = at\n"
    code += f"stage_main(lambda given: prepare.run_stage(given, {stage!r}, module.build))\n"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *launch, "-c", code, str(session.folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def weights(session: Session, stage: str) -> dict[str, torch.Tensor]:
    folder = session.checkpoints / f"{stage}-{STEPS[stage]:06d}" / stage
    return load_file(next(folder.glob("*.safetensors")))


@pytest.fixture
def sessions(tmp_path: Path) -> list[Session]:
    """Three of one beginning, of a batch of 2, 1 and 1."""
    first = make_micro_session(tmp_path, make_folder(tmp_path / "model"), STEPS)
    found = [first]
    for name in ("two", "stopped"):
        found.append(open_session_folder(Path(shutil.copytree(first.folder, first.folder.with_name(name)))))
        found[-1].save_recipe(found[-1].recipe().changed(batch_size=1))
    return found


def test_two_processes_do_what_one_of_twice_the_batch_does(sessions: list[Session]) -> None:
    one, two, stopped = sessions
    for stage in STEPS:
        for session, processes in ((one, 1), (two, 2)):
            ended = train(session, stage, processes)
            assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stdout.count('"result"') == 1  # the first process alone speaks
        expected, found = weights(one, stage), weights(two, stage)
        before = load_file(next((Path(one.recipe().base_model) / stage).glob("*.safetensors")))
        learned = max((expected[name] - before[name]).abs().max().item() for name in expected)
        apart = max((expected[name] - found[name]).abs().max().item() for name in expected)
        assert apart < 0.02 * learned
    assert train(stopped, "text_encoder", 2).returncode == 0
    ended = train(stopped, "unet", 2, stop_after=3)
    assert "stopped after step 3" in ended.stdout + ended.stderr
    assert train(stopped, "unet", 2).returncode == 0
    whole, again = weights(two, "unet"), weights(stopped, "unet")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert "processes was 2, is 1" in (lambda e: e.stdout + e.stderr)(train(stopped, "unet", 1))
