"""What is watched while a stage trains, and that watching and saving change nothing of it."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from threading import Event

import pytest
from micro import make_micro_session
from runs import copy_of, train

from fsd.data.session import Session
from fsd.errors import MachineError
from fsd.runtime import files, report
from fsd.runtime.files import sha256
from fsd.train import forecast, state
from fsd.train.batch import Batches
from fsd.train.metrics import Clock, Metrics, draw_loss, read_metrics
from fsd.weights import checkpoint


def weights_of(session: Session, step: int = 8) -> str:
    return sha256(session.checkpoints / f"unet-{step:06d}/unet/diffusion_pytorch_model.safetensors")


# --- figures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(micro_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Session, dict]:
    """A session trained without watching, one with all of it, and the figures of that one."""
    plain = make_micro_session(tmp_path_factory.mktemp("watched"), micro_model, {"text_encoder": 6, "unet": 8})
    watched = copy_of(plain, "watched")
    train(plain, "unet")
    settings = {"validation.every_steps": 2, "validation.draws": 3, "tensorboard": True}
    watched.save_recipe(watched.recipe().changed(**settings))
    return plain, watched, train(watched, "unet")


def test_the_validation_loss_is_the_same_measure_each_time_and_teaches_nothing(
    watched: tuple[Session, Session, dict], tmp_path: Path
) -> None:
    plain, session, figures = watched
    assert weights_of(plain) == weights_of(session)
    rows = read_metrics(session.logs / "metrics.jsonl")
    losses = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert [*losses] == [2, 4, 6, 8]
    assert losses[8] < losses[2]  # on the photos it learns from, as none is held out
    assert figures["seconds"].keys() == {"preparing", "training", "validation", "saving"}
    assert draw_loss(session.logs / "metrics.jsonl", tmp_path / "loss.png").stat().st_size > 10_000
    again = copy_of(session, "again")
    for folder in again.checkpoints.glob("unet-*"):
        shutil.rmtree(folder)
    train(again, "unet")
    assert {row["step"]: row["validation_loss"] for row in read_metrics(again.logs / "metrics.jsonl")} == losses


def test_tensorboard_opens_what_was_written(watched: tuple[Session, Session, dict]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, session, _ = watched
    board = EventAccumulator(str(session.logs / "tensorboard/unet")).Reload()
    assert {"loss", "learning_rate", "steps_per_second", "validation_loss"} <= set(board.Tags()["scalars"])
    rows = read_metrics(session.logs / "metrics.jsonl")
    assert [event.value for event in board.Scalars("loss")] == pytest.approx([row["loss"] for row in rows])


def test_seconds_are_counted_where_they_are_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 2.0, 5.0, 6.0])
    monkeypatch.setattr("fsd.train.metrics.time.monotonic", lambda: next(now))
    clock = Clock()
    assert [clock.stop(what) for what in ("training", "saving", "training")] == [2.0, 3.0, 1.0]
    assert clock.seconds == {"training": 3.0, "saving": 3.0}


def test_a_plot_is_drawn_at_once_then_every_few_seconds_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, drawn = [100.0], []
    monkeypatch.setattr("fsd.train.metrics.time.monotonic", lambda: now[0])
    monkeypatch.setattr("fsd.train.metrics.draw_loss", lambda *given: drawn.append(given))
    figures = Metrics(tmp_path / "metrics.jsonl")
    assert figures.draw(tmp_path / "loss.png", last=False)
    now[0] += 9
    assert not figures.draw(tmp_path / "loss.png", last=False)
    assert figures.draw(tmp_path / "loss.png", last=True)
    now[0] += 11
    assert figures.draw(tmp_path / "loss.png", last=False)
    assert len(drawn) == 3
    assert not Metrics(None).draw(tmp_path / "loss.png", last=True)


def test_the_time_is_told_before_and_the_telling_teaches_nothing(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = copy_of(micro_session, "silent")
    train(silent, "unet")
    assert "about" not in capsys.readouterr().out
    monkeypatch.setattr(forecast, "LEAST_STEPS", 8)
    train(micro_session, "unet")
    assert re.search(r"^UNet: 8 steps, about \d+ s, beside saves", capsys.readouterr().out, re.M)
    assert weights_of(micro_session) == weights_of(silent)
    assert [report.human_seconds(seconds) for seconds in (0.2, 89, 1500, 11_400)] == [
        "1 s",
        "89 s",
        "25 min",
        "3 h 10 min",
    ]


# --- saving ----------------------------------------------------------------------------------------------------------


def test_training_goes_on_while_a_checkpoint_is_put_on_the_disk(
    micro_session: Session, watched: tuple[Session, Session, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched, *_ = watched
    trained_on, real_seal, real_at = Event(), checkpoint.seal, Batches.at

    def seal(folder: Path, manifest: dict) -> None:
        assert manifest["step"] != 2 or trained_on.wait(60), "the loop waited for the disk"
        real_seal(folder, manifest)

    def at(self: Batches, step: int, device: object) -> object:
        if step == 3:  # the second one after the save
            trained_on.set()
        return real_at(self, step, device)

    monkeypatch.setattr(checkpoint, "seal", seal)
    monkeypatch.setattr(Batches, "at", at)
    train(micro_session, "unet")
    assert weights_of(micro_session) == weights_of(untouched)
    assert weights_of(micro_session, 6) == weights_of(untouched, 6)


def test_a_disk_that_is_full_at_a_checkpoint_ends_the_run_with_the_one_before(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.sync

    def sync(path: Path) -> None:
        if "unet-000004" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path)

    monkeypatch.setattr(files, "sync", sync)
    with pytest.raises(MachineError, match=r"unet-000004 could not be saved .*No space left") as caught:
        train(micro_session, "unet")
    assert "the checkpoint before it is untouched" in caught.value.hint
    monkeypatch.undo()
    assert [path.name for path in micro_session.checkpoints.iterdir()] == ["unet-000002"]
    assert train(micro_session, "unet")["from_step"] == 2


def test_what_a_save_fails_of_is_said_beside_what_ends_the_run(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def finish(self: state.State, rest: object) -> None:
        raise MachineError("the disk is full", "free some")

    def at(self: Batches, step: int, device: object) -> object:
        if step == 2:
            raise RuntimeError("the GPU is gone")
        return real_at(self, step, device)

    real_at = Batches.at
    monkeypatch.setattr(state.State, "_finish", finish)
    monkeypatch.setattr(Batches, "at", at)
    with pytest.raises((RuntimeError, MachineError)):
        train(micro_session, "unet")
    assert "the disk is full" in capsys.readouterr().out
