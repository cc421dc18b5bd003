"""The machine is given back once everything is safe, never before, and never after a failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from micro import make_micro_session

from fsd import job_file, pipeline, stage, training, upkeep
from fsd.data.session import Session
from fsd.errors import MachineError, TrainingError
from fsd.runtime import colab, drive
from fsd.runtime.report import Result
from fsd.runtime.spool import deliver, safe
from fsd.runtime.spool.local_first import FSD_LOCAL, twin, working
from fsd.runtime.spool.spool import Spool
from fsd.runtime.spool.state import CONFIRMED, WRITTEN


@pytest.fixture
def given_back(google: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """On Colab with Drive mounted: whether the machine was given back ("back"), and Drive flushed before ("flushed")."""
    done: list[str] = []
    monkeypatch.setenv(
        FSD_LOCAL, str(tmp_path / "disk")
    )  # the stages' processes know nothing of the test's mount point
    google.drive.mount(str(colab.MOUNT_POINT))
    flush = google.drive.flush_and_unmount

    def flushed(*arguments: Any, **named: Any) -> None:
        flush(*arguments, **named)
        done.append("flushed")

    monkeypatch.setattr(google.drive, "flush_and_unmount", flushed)
    monkeypatch.setattr(google.runtime, "unassign", lambda: done.append("back"))
    monkeypatch.setattr(safe, "WAIT_S", 0)
    return done


@pytest.fixture
def session(given_back: list[str], micro_model: Path) -> Session:
    return make_micro_session(colab.MOUNT_POINT / drive.MY_DRIVE, micro_model, {"text_encoder": 0, "unet": 2})


def levels(session: Session) -> dict[str, str]:
    return {item.name: item.state for item in Spool(session.folder).items()}


def test_one_tick_trains_saves_the_ckpt_and_then_gives_the_machine_back(
    session: Session, given_back: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    done = pipeline.train_unet(session, disconnect=True)
    assert given_back == ["flushed", "back"]
    assert done["steps"] == 2
    states = levels(session)
    assert {"checkpoints/unet-000002", "cup.safetensors"} <= states.keys()
    assert set(states.values()) == {WRITTEN}
    out = capsys.readouterr().out
    assert out.index("UNet: 2 of 2 steps") < out.index("cup.safetensors") < out.index("this machine is given back")


@pytest.fixture
def trained(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session for which training takes no time."""
    monkeypatch.setattr(training, "train_stage", lambda *_: Result("trained", stage="unet", steps=2))

    def save(saved: Session, *_: object) -> Result:
        (working(saved.folder)).mkdir(parents=True, exist_ok=True)
        (working(saved.folder) / "cup.safetensors").write_bytes(b"model")
        Spool(saved.folder).add("cup.safetensors")
        return Result("saved")

    monkeypatch.setattr(training, "save_stage", save)
    return session


def test_without_the_tick_the_machine_stays(trained: Session, given_back: list[str]) -> None:
    pipeline.train_unet(trained)
    pipeline.save_ckpt(trained)
    upkeep.sync(trained, wait=True)
    assert given_back == []


@pytest.mark.parametrize("verb", ["train_stage", "save_stage"])
def test_what_fails_keeps_the_machine(
    trained: Session, given_back: list[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def fail(*_: object) -> None:
        raise TrainingError("the loss is nan", "")

    monkeypatch.setattr(training, verb, fail)
    with pytest.raises(TrainingError):
        pipeline.train_unet(trained, disconnect=True)
    assert given_back == []


def test_what_drive_does_not_take_keeps_the_machine_and_says_why(
    trained: Session, given_back: list[str], google: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.drive.fault = "Drive is away"
    with pytest.raises(MachineError, match="flush_and_unmount failed"):
        pipeline.save_ckpt(trained, disconnect=True)
    google.drive.fault = ""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deliver, "deliver", full)
    with pytest.raises(MachineError, match=r"cup\.safetensors: local \(No space left on device\)"):
        pipeline.save_ckpt(trained, disconnect=True)
    assert given_back == []
    local = twin(trained.folder)
    assert local and (local / "cup.safetensors").is_file()


def test_google_has_the_last_word_where_it_was_allowed_to(
    trained: Session, given_back: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe.GoogleDrive, "has", lambda *_: False)
    monkeypatch.setattr(colab, "_granted", {colab.LIST_FILES})
    with pytest.raises(MachineError, match="not yet confirmed by Google"):
        pipeline.save_ckpt(trained, disconnect=True)
    assert given_back == []
    monkeypatch.setattr(safe.GoogleDrive, "has", lambda *_: True)
    pipeline.save_ckpt(trained, disconnect=True)
    assert given_back[-1] == "back"
    assert set(levels(trained).values()) == {CONFIRMED}


def test_a_session_that_would_be_lost_is_refused_before_the_work(
    given_back: list[str], micro_session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(FSD_LOCAL)
    monkeypatch.setattr(stage, "run_stage", lambda *_, **__: pytest.fail("it was trained"))
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"session": "cup", "root": str(tmp_path), "disconnect": True}))
    monkeypatch.setattr(pipeline, "find_base_model", lambda *_: pytest.fail("something was downloaded"))
    for work in REFUSED:
        with pytest.raises(MachineError, match="would be lost with it"):
            work(micro_session, job)
    monkeypatch.setattr(colab, "in_colab", lambda: False)
    for work in REFUSED:
        with pytest.raises(MachineError, match="only Colab takes a machine back"):
            work(micro_session, job)
    assert given_back == []


REFUSED: tuple[Callable[[Session, Path], object], ...] = (
    lambda session, job: pipeline.train_unet(session, disconnect=True),
    lambda session, job: pipeline.save_ckpt(session, disconnect=True),
    lambda session, job: upkeep.sync(session, disconnect=True),
    lambda session, job: job_file.run(str(job)),
)


def test_a_job_gives_the_machine_back_at_its_end(
    trained: Session, given_back: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = trained.recipe()
    root = str(colab.MOUNT_POINT / drive.MY_DRIVE)
    job = {
        "session": "cup", "root": root, "disconnect": True, "stages": ["unet", "save_ckpt"], "family": recipe.family,
        "base_model": recipe.base_model, "resolution_px": recipe.resolution_px,
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    monkeypatch.setattr(pipeline, "caption_photos", lambda *_, **__: Result("captions"))
    done = job_file.run(str(tmp_path / "job.json"))
    assert given_back == ["flushed", "back"]
    assert list(done["stages"]) == ["unet", "save_ckpt"]
