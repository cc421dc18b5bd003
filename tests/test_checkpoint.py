"""Checkpoints are whole or not there, and only then the older ones go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsd.errors import MachineError, WeightsError
from fsd.weights import checkpoint
from fsd.weights.model import model_parts


def save(folder: Path, step: int, stage: str = "unet", done: bool = False) -> checkpoint.Checkpoint:
    def write(inside: Path) -> None:
        (inside / stage).mkdir()
        (inside / stage / "weights.safetensors").write_bytes(b"weights %d" % step)
        (inside / "optimizer.safetensors").write_bytes(b"state")

    return checkpoint.save_checkpoint(folder, stage, step, done, {"seed": 1}, write)


def test_saved_is_found_again_with_its_facts(tmp_path: Path) -> None:
    save(tmp_path, 2)
    saved = save(tmp_path, 4, done=True)
    found = checkpoint.newest_checkpoint(tmp_path, "unet", print)
    assert found == saved
    assert (found.name, found.step, found.done, found.facts) == ("unet-000004", 4, True, {"seed": 1})
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


def test_freeing_space_keeps_one_and_drops_its_optimizer_only_when_done(tmp_path: Path) -> None:
    save(tmp_path, 2)
    save(tmp_path, 4)
    assert checkpoint.keep_newest(tmp_path, "unet", print) > 0
    assert (tmp_path / "unet-000004/optimizer.safetensors").exists()
    done = save(tmp_path, 6, done=True)
    assert checkpoint.keep_newest(tmp_path, "unet", print) > 0
    assert [folder.name for folder in tmp_path.iterdir()] == ["unet-000006"]
    assert not (done.folder / "optimizer.safetensors").exists()
    assert checkpoint.verify_checkpoint(done.folder).step == 6


def test_the_trained_model_is_the_base_with_the_newest_parts(tmp_path: Path) -> None:
    base, checkpoints = tmp_path / "base", tmp_path / "checkpoints"
    save(checkpoints, 2)
    save(checkpoints, 4)
    save(checkpoints, 3, "text_encoder")
    parts = model_parts(base, checkpoints, print)
    assert parts["unet"] == checkpoints / "unet-000004/unet"
    assert parts["text_encoder"] == checkpoints / "text_encoder-000003/text_encoder"
    assert parts["vae"] == base / "vae"
    assert model_parts(base, checkpoints, print, "unet-000002")["unet"] == checkpoints / "unet-000002/unet"
    assert model_parts(base, checkpoints, print, "base")["unet"] == base / "unet"
    with pytest.raises(WeightsError, match="unet-000005"):
        model_parts(base, checkpoints, print, "unet-000005")
