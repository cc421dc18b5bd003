"""Ctrl-C and SIGTERM at real moments of a verb and its child: one line, the shell's exit code, nothing lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fsd.data.session import Session
from fsd.runtime.lock_record import LOCK_NAME
from fsd.runtime.process import python_module
from fsd.weights.checkpoint import newest_checkpoint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at as on Linux")

ROOT = Path(__file__).parents[1]
DEADLINE_S = 120.0
LOOK_S = 0.001


class Verb:
    """`fsd WORDS` under way, with all that it and its child say in one place."""

    def __init__(self, output: Path, *words: str) -> None:
        self.output = output
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with output.open("wb") as stream:
            command = python_module("fsd", *words)
            self.process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)

    def until(self, happens: Callable[[Verb], bool]) -> None:
        ends = time.monotonic() + DEADLINE_S
        while not happens(self):
            assert self.process.poll() is None, f"it ended too early: {self.said()}"
            assert time.monotonic() < ends, f"it never happened: {self.said()}"
            time.sleep(LOOK_S)

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def child(self) -> int:
        """The process that trains, from its exec on; 0 before."""
        try:
            pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            return next((int(p) for p in pids if b"fsd.train" in Path(f"/proc/{p}/cmdline").read_bytes()), 0)
        except OSError:
            return 0


def at_its_start(verb: Verb) -> bool:
    """The first moment at which it can do anything about a signal."""
    caught = re.search(r"^SigCgt:\s+(\w+)", Path(f"/proc/{verb.process.pid}/status").read_text(), re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def at_the_childs_exec(verb: Verb) -> bool:
    return bool(verb.child())


def while_torch_loads(verb: Verb) -> bool:
    child = verb.child()
    return bool(child) and "libtorch" in Path(f"/proc/{child}/maps").read_text()


def while_it_trains(verb: Verb) -> bool:
    return "loss=" in verb.said()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        (at_its_start, signal.SIGINT),
        (at_the_childs_exec, signal.SIGTERM),
        (while_torch_loads, signal.SIGINT),
        (while_it_trains, signal.SIGTERM),
    ],
)
def test_a_verb_is_stopped(
    micro_session: Session, tmp_path: Path, moment: Callable[[Verb], bool], number: signal.Signals
) -> None:
    root = str(micro_session.folder.parents[2])
    verb = Verb(tmp_path / "output.txt", "train-text-encoder", "cup", "--root", root, "--steps", "100000")
    verb.until(moment)
    child = verb.child()
    verb.process.send_signal(number)
    assert verb.process.wait(DEADLINE_S) == 128 + number
    said = verb.said()
    assert "Traceback" not in said and "KeyboardInterrupt" not in said
    assert said.splitlines()[-1].startswith("fsd: stopped") and said.count("fsd: ") == 1
    assert not child or not Path(f"/proc/{child}").exists()
    assert not (micro_session.folder / LOCK_NAME).exists()
    saved = newest_checkpoint(micro_session.checkpoints, "text_encoder", print)
    step = re.search(r"stopped after step (\d+) of 100000; everything is saved", said)
    assert (saved.step if saved else 0) == (int(step[1]) if step else 0)
    assert bool(step) == (moment is while_it_trains)


def test_programs_get_their_object_however_early_it_is_stopped(tmp_path: Path) -> None:
    verb = Verb(tmp_path / "output.txt", "demo", "--root", str(tmp_path), "--json")
    verb.until(at_its_start)
    verb.process.send_signal(signal.SIGTERM)
    assert verb.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
    said, record = verb.said().splitlines()
    assert said.startswith("fsd: stopped")
    assert json.loads(record)["code"] == "interrupted"


SWALLOWED = """
import os, signal
from fsd.runtime import stopping
class Thing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
try:
    stopping.raising()
    Thing()
    signal.pause()
except stopping.Stopped:
    print("stopped", stopping.exit_code())
"""


def test_a_signal_where_nothing_can_be_raised_is_heard_a_moment_later() -> None:
    command = [sys.executable, "-c", SWALLOWED]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (ended.stdout, ended.stderr) == ("stopped 143\n", "")
