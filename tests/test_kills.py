"""kill -9 ten times over both stages, on a folder and on Drive with a local twin: the bits of an uninterrupted run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parent / "benchmarks" / "kill_resume.py"


@pytest.mark.skipif(sys.platform != "linux", reason="a process's CPU time is read as on Linux")
def test_ten_kills_end_with_the_bits_of_an_uninterrupted_run() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARK), "--kills", "10"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    stages = re.search(r"by stage: (\d+) text_encoder, (\d+) unet", done.stdout)
    where = re.search(r"(\d+) before .* step, (\d+) in a step, (\d+) in a save, (\d+) after", done.stdout)
    lost = re.search(r"(\d+) took the machine along", done.stdout)
    assert stages and where and lost, done.stdout
    assert min(map(int, stages.groups())) >= 3, done.stdout
    assert sum(map(int, where.groups())) == sum(map(int, stages.groups())) == 10, done.stdout
    assert int(lost[1]) >= 2, done.stdout
    assert "10 of 10 kills, each resumed, ended with the bits of the uninterrupted run" in done.stdout
