"""Checkpoints are whole or not there, and only then the older ones go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from micro import make_folder
from subjects import train_a_little

from fsd.data.session import Session
from fsd.errors import MachineError, WeightsError
from fsd.recipe import Recipe
from fsd.weights import checkpoint
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.model import TrainedModel, trained_model

NO_BASE = Path("no base model")
FACTS = {"run": {"base model": base_fingerprint(NO_BASE)}}


def save(folder: Path, step: int, stage: str = "unet", done: bool = False) -> checkpoint.Checkpoint:
    def write(inside: Path) -> None:
        (inside / stage).mkdir()
        (inside / stage / "config.json").write_text("{}")
        (inside / stage / "weights.safetensors").write_bytes(b"weights %d" % step)
        (inside / "optimizer.safetensors").write_bytes(b"state")

    return checkpoint.save_checkpoint(folder, stage, step, done, FACTS, write)


def test_saved_is_found_again_with_its_facts(tmp_path: Path) -> None:
    save(tmp_path, 2)
    saved = save(tmp_path, 4, done=True)
    found = checkpoint.newest_checkpoint(tmp_path, "unet", print)
    assert found == saved
    assert (found.name, found.step, found.done, found.facts) == ("unet-000004", 4, True, FACTS)
    assert checkpoint.is_done(tmp_path, "unet")
    assert not checkpoint.is_done(tmp_path, "text_encoder")
    assert checkpoint.newest_checkpoint(tmp_path, "text_encoder", print) is None


def test_prune_keeps_the_newest_of_its_stage(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        save(tmp_path, step)
    save(tmp_path, 1, "text_encoder")
    assert checkpoint.prune(tmp_path, "unet", 2) == ["unet-000002"]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["text_encoder-000001", "unet-000004", "unet-000006"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "unet/weights.safetensors").write_bytes(b"weights 9"),
        lambda folder: (folder / "unet/weights.safetensors").write_bytes(b""),
        lambda folder: (folder / "optimizer.safetensors").unlink(),
        lambda folder: (folder / "checkpoint.json").write_text("{"),
        lambda folder: (folder / "checkpoint.json").write_text("[]"),
        lambda folder: (folder / "checkpoint.json").unlink(),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_it_taken(tmp_path: Path, damage) -> None:
    before, newest = save(tmp_path, 2), save(tmp_path, 4)
    damage(newest.folder)
    said: list[str] = []
    assert checkpoint.newest_checkpoint(tmp_path, "unet", said.append) == before
    assert len(said) == 1
    assert "unet-000004 is damaged" in said[0]
    assert said[0].endswith("; going back to unet-000002")
    with pytest.raises(WeightsError, match="unet-000004"):
        checkpoint.verify_checkpoint(newest.folder)


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_failing_disk_leaves_the_older_checkpoint_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = save(tmp_path, 2)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(MachineError, match=r"unet-000004 could not be saved.*No space left"):
            save(tmp_path, 4)
    assert checkpoint.newest_checkpoint(tmp_path, "unet", print) == before
    assert [folder.name for folder in tmp_path.iterdir()] == ["unet-000002"]


def test_what_a_kill_left_behind_is_cleared_by_the_next_save(tmp_path: Path) -> None:
    save(tmp_path, 2)
    (tmp_path / ".unet-000004.partial-abc").mkdir()
    save(tmp_path, 4)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["unet-000002", "unet-000004"]


def test_the_optimizers_state_goes_without_harm(tmp_path: Path) -> None:
    done = save(tmp_path, 6, done=True)
    assert checkpoint.drop_optimizer(done) > 0
    assert not (done.folder / "optimizer.safetensors").exists()
    assert checkpoint.verify_checkpoint(done.folder).step == 6
    assert checkpoint.drop_optimizer(done) == 0


def open_model(checkpoints: Path, named: str = "", base: Path = NO_BASE, **settings: int) -> TrainedModel:
    return trained_model(base, checkpoints, Recipe().changed(**settings), print, named)


def test_the_trained_model_is_the_base_with_the_newest_parts(tmp_path: Path) -> None:
    save(tmp_path, 2)
    save(tmp_path, 4)
    save(tmp_path, 350, "text_encoder", done=True)
    model = open_model(tmp_path)
    assert model.parts["unet"] == tmp_path / "unet-000004/unet"
    assert model.parts["text_encoder"] == tmp_path / "text_encoder-000350/text_encoder"
    assert model.as_text(Recipe()) == "text encoder: text_encoder-000350; UNet: unet-000004 of 1500 steps"
    assert open_model(tmp_path, "unet-000002").parts["unet"] == tmp_path / "unet-000002/unet"
    assert open_model(tmp_path, "base").used == {}


def test_a_stage_with_no_steps_adds_nothing_unless_it_is_named(tmp_path: Path) -> None:
    save(tmp_path, 2, "text_encoder")
    save(tmp_path, 4)
    model = open_model(tmp_path, text_encoder__steps=0)
    assert model.used.keys() == {"unet"}
    assert model.as_text(Recipe()) == "text encoder: base; UNet: unet-000004 of 1500 steps"
    assert open_model(tmp_path, "text_encoder-000002", text_encoder__steps=0).used.keys() == {"text_encoder", "unet"}


def test_another_base_model_is_refused(tmp_path: Path, micro_model: Path) -> None:
    save(tmp_path, 4)
    with pytest.raises(WeightsError, match=r"unet-000004 was trained from another base model than .*model") as caught:
        open_model(tmp_path, base=micro_model)
    assert "choose the base model that it was trained from" in caught.value.hint


def test_when_no_checkpoint_is_whole_the_base_does_not_take_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (save(tmp_path, 2).folder / "unet/weights.safetensors").write_bytes(b"weights 9")
    with pytest.raises(WeightsError, match=r"no UNet checkpoint in .* is whole"):
        open_model(tmp_path)
    assert "there is none before it" in capsys.readouterr().out


def test_only_what_is_used_is_read(tmp_path: Path) -> None:
    older, newest = save(tmp_path, 2), save(tmp_path, 4)
    (newest.folder / "unet/weights.safetensors").write_bytes(b"weights 9")
    assert open_model(tmp_path, "unet-000002").used == {"unet": older}
    with pytest.raises(WeightsError, match="unet-000004 is damaged") as caught:
        open_model(tmp_path, "unet-000004")
    assert "use another one" in caught.value.hint


@pytest.mark.parametrize("named", ["unet-000005", ".", "..", ".unet-000004.partial-abc", "unet-000002/unet"])
def test_a_name_that_no_checkpoint_has_is_answered_with_those_there_are(tmp_path: Path, named: str) -> None:
    save(tmp_path, 2)
    save(tmp_path, 1, "text_encoder")
    (tmp_path / ".unet-000004.partial-abc").mkdir()
    with pytest.raises(WeightsError, match="there is no checkpoint") as caught:
        open_model(tmp_path, named)
    assert caught.value.hint == "choose one of: base, text_encoder-000001, unet-000002"


def test_the_unet_stage_starts_from_the_text_encoder_of_the_same_model(micro_session: Session, tmp_path: Path) -> None:
    from fsd.train.prepare import _origin

    train_a_little(micro_session)
    shutil.rmtree(micro_session.checkpoints / "unet-000008")
    trained = micro_session.checkpoints / "text_encoder-000006/text_encoder"
    assert _origin(micro_session, "unet", fork=False).parts["text_encoder"] == trained
    recipe = micro_session.recipe()
    base = Path(recipe.base_model)
    micro_session.save_recipe(recipe.changed(text_encoder__steps=0))
    assert _origin(micro_session, "unet", fork=True).parts["text_encoder"] == base / "text_encoder"
    micro_session.save_recipe(recipe.changed(base_model=str(make_folder(tmp_path / "other", layers=2))))
    with pytest.raises(WeightsError, match="text_encoder-000006 was trained from another base model"):
        _origin(micro_session, "unet", fork=True)
