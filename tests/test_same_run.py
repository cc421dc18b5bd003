"""What makes two runs one: settings, photos and base model; a run goes on from its own checkpoints alone, or says so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from runs import copy_of, final_hashes, stopping_at, train

from fsd import pipeline, stage
from fsd.data.session import Session
from fsd.errors import Interrupted, RecipeError
from fsd.train import choices


def test_other_settings_are_refused_by_name_unless_forked(
    trained: tuple[Session, Session], capsys: pytest.CaptureFixture[str]
) -> None:
    session, _ = trained
    session.save_recipe(session.recipe().changed(unet__steps=10, seed=5))
    with pytest.raises(RecipeError) as caught:
        train(session, "unet")
    assert "seed was 0, is 5" in str(caught.value)
    assert "fork" in str(caught.value)
    session.save_recipe(session.recipe().changed(seed=0))
    with pytest.raises(RecipeError, match=r"steps was 8, is 10"):
        train(session, "unet")
    session.save_recipe(session.recipe().changed(unet__steps=8))
    with pytest.raises(RecipeError, match="steps was 8, is 9"):
        pipeline.train_unet(session, steps=9)
    assert session.recipe().unet.steps == 8
    session.save_recipe(session.recipe().changed(unet__steps=10))
    assert train(session, "unet", "--fork")["from_step"] == 8
    assert "optimizer starts afresh" in capsys.readouterr().out
    manifest = json.loads((session.checkpoints / "unet-000010/checkpoint.json").read_text())
    assert manifest["facts"]["forked_from"]["checkpoint"] == "unet-000008"


def test_free_settings_may_change_and_a_finished_stage_is_left_alone(trained: tuple[Session, Session]) -> None:
    whole, other = trained
    other.save_recipe(other.recipe().changed(save__every_steps=3, save__keep=5))
    train(other, "text_encoder")
    train(other, "unet")
    assert final_hashes(other) == final_hashes(whole)
    before = final_hashes(whole)
    assert train(whole, "unet")["from_step"] == 8
    assert final_hashes(whole) == before


def test_a_finished_stage_costs_no_process_as_long_as_nothing_changes(
    trained: tuple[Session, Session], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session, _ = trained
    asked: list[tuple[str, ...]] = []

    def run_stage(*given: str) -> dict[str, Any]:
        asked.append(given)
        return {"steps": 8, "loss": None}

    monkeypatch.setattr(stage, "run_stage", run_stage)
    assert train(session, "unet") == pipeline.train_unet(session)
    said = capsys.readouterr().out
    assert said.count("UNet: all 8 steps are done already\n") == 2
    assert "loading" not in said and asked == []
    copies = [copy_of(session, name) for name in ("cut", "damaged", "other", "longer")]
    cut, damaged, other, longer = copies
    (cut.checkpoints / "unet-000008").rename(cut.folder / "gone")
    (damaged.checkpoints / "unet-000008/unet/config.json").write_text("{}")
    next(other.instance_images.iterdir()).unlink()
    longer.save_recipe(longer.recipe().changed(unet__steps=10))
    for changed in copies:
        pipeline.train_unet(changed)
    pipeline.train_unet(session, fork=True)
    assert [given[:2] for given in asked] == [("fsd.train.unet", str(one.folder)) for one in (*copies, session)]
    assert "done already" not in capsys.readouterr().out


def test_a_setting_that_an_older_version_did_not_have_counts_as_its_default(trained: tuple[Session, Session]) -> None:
    whole, older = trained
    train(older, "text_encoder")
    with stopping_at(4), pytest.raises(Interrupted):
        train(older, "unet")
    manifest = older.checkpoints / "unet-000005/checkpoint.json"
    record = json.loads(manifest.read_text())
    del record["facts"]["run"]["warmup_steps"], record["facts"]["chosen"]
    manifest.write_text(json.dumps(record))
    assert train(older, "unet")["from_step"] == 5
    assert final_hashes(older) == final_hashes(whole)


def test_auto_means_what_it_meant_when_the_run_began(
    trained: tuple[Session, Session], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, elsewhere = trained
    train(elsewhere, "text_encoder")
    here = copy_of(elsewhere, "here")
    with monkeypatch.context() as gpu:
        gpu.setattr(choices, "choose_optimizer", lambda kind, on_gpu: "adamw8bit")
        with stopping_at(4), pytest.raises(Interrupted):
            train(elsewhere, "unet")
    forked = copy_of(elsewhere, "forked")
    train(elsewhere, "unet")
    here.save_recipe(here.recipe().changed(optimizer="adamw8bit"))
    train(here, "unet")
    assert final_hashes(elsewhere) == final_hashes(here)
    capsys.readouterr()
    train(forked, "unet", "--fork")
    assert "trained with adamw8bit: adamw starts afresh" in capsys.readouterr().out


def test_changed_photos_are_another_run(trained: tuple[Session, Session]) -> None:
    session, _ = trained
    next(session.instance_images.iterdir()).unlink()
    with pytest.raises(RecipeError, match="the photos and captions changed"):
        train(session, "unet")
