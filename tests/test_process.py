"""Child processes: results and errors come back, output is passed on, a death is explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fsd.errors import Interrupted, MachineError, RecipeError
from fsd.runtime.process import child_environment, run_stage

ROOT = Path(__file__).parents[1]

CHILD = """
import os, signal, sys, time
from fsd.errors import Interrupted, RecipeError
from fsd.runtime.child import stage_main

class OutOfMemoryError(RuntimeError): pass

def work(arguments):
    print("first line")
    sys.stderr.write("10%\\r100%\\n")
    match arguments[0]:
        case "error": raise RecipeError("steps is -1", "give 0 or more")
        case "crash": raise ValueError("unforeseen")
        case "memory": raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\\nmore")
        case "killed": os.kill(os.getpid(), signal.SIGKILL)
        case "package": import no_such_package
        case "unrepeatable": raise RuntimeError("put_ does not have a deterministic implementation, but you set ...")
        case "asleep":
            print("waiting", flush=True)
            signal.pause()
        case "wait":
            stopped = []
            signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
            print("waiting", flush=True)
            while not stopped:
                time.sleep(0.01)
            raise Interrupted("stopped after step 3", "run the same command to go on")
    return {"steps": 3}

stage_main(work)
"""


@pytest.fixture(autouse=True)
def _child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child_stage.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_result_and_output_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_stage("child_stage", "fine") == {"steps": 3}
    out = capsys.readouterr().out
    assert "first line\n" in out
    assert "10%\r100%\n" in out
    assert "steps" not in out


def test_our_errors_come_back_as_they_were() -> None:
    with pytest.raises(RecipeError, match="steps is -1") as caught:
        run_stage("child_stage", "error")
    assert caught.value.hint == "give 0 or more"


def test_a_crash_brings_its_last_lines() -> None:
    with pytest.raises(MachineError, match="exit code 1") as caught:
        run_stage("child_stage", "crash")
    assert "ValueError: unforeseen" in str(caught.value)


def test_a_full_gpu_says_what_to_change() -> None:
    with pytest.raises(MachineError, match=r"memory is full.*2 GiB") as caught:
        run_stage("child_stage", "memory")
    assert "gradient_checkpointing" in caught.value.hint


def test_a_kill_by_the_system_is_explained() -> None:
    with pytest.raises(MachineError, match="SIGKILL") as caught:
        run_stage("child_stage", "killed")
    assert "memory" in caught.value.hint


PARENT = "import sys; from fsd.runtime.process import run_stage; run_stage('child_stage', sys.argv[1])"


def parent(tmp_path: Path, what: str = "wait") -> subprocess.Popen[str]:
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-u", "-c", PARENT, what], env=os.environ | {"PYTHONPATH": path}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_child(running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    for line in running.stdout:
        if line == "waiting\n":
            return
    raise AssertionError("the child never started")


def test_a_signal_to_the_parent_lets_the_child_save(tmp_path: Path) -> None:
    running = parent(tmp_path)
    wait_for_child(running)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert Interrupted.__name__ in errors
    assert "stopped after step 3" in errors


def test_a_child_that_is_stopped_before_it_can_answer_is_no_crash(tmp_path: Path) -> None:
    running = parent(tmp_path, "asleep")
    wait_for_child(running)
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=60)
    assert "Interrupted: stopped" in errors
    assert "KeyboardInterrupt" not in out + errors


def test_a_missing_package_and_an_operation_that_cannot_be_repeated_say_what_to_do() -> None:
    with pytest.raises(MachineError, match="the package no_such_package is not installed"):
        run_stage("child_stage", "package")
    with pytest.raises(MachineError, match="cannot repeat a run exactly") as caught:
        run_stage("child_stage", "unrepeatable")
    assert "repeatable=false" in caught.value.hint


def test_a_child_sees_our_package_and_only_what_it_may_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEBODYS_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PLAIN", "kept")
    assert child_environment()["PLAIN"] == "kept"
    assert "SOMEBODYS_TOKEN" not in child_environment()
    found = child_environment({"LANG": "C.UTF-8"})
    assert found["LANG"] == "C.UTF-8" and "SOMEBODYS_TOKEN" not in found
    assert found["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/elsewhere"]
