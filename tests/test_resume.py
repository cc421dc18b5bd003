"""Killed anywhere and started again, a run ends with the bits of an uninterrupted one."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from micro import make_micro_session
from pipelines import make_sd2
from safetensors.torch import load_file

from fsd import pipeline
from fsd.data.session import Session, open_session, open_session_folder
from fsd.errors import Interrupted, MachineError, RecipeError, TrainingError
from fsd.families import FAMILIES
from fsd.recipe import Recipe
from fsd.runtime.files import sha256
from fsd.train import identity, prepare, text_encoder, unet
from fsd.train.batch import Batches
from fsd.train.device import make_accelerator
from fsd.train.metrics import read_metrics
from fsd.train.optimizer import Optimizer
from fsd.train.prepare import run_stage
from fsd.weights import checkpoint
from fsd.weights.detect import detect

BUILD = {"text_encoder": text_encoder.build, "unet": unet.build}
HERE = Path(__file__).parent


def train(session: Session, stage: str, *options: str) -> dict:
    AcceleratorState._reset_state(reset_partial_state=True)  # as in a process of its own
    return run_stage([str(session.folder), *options], stage, BUILD[stage])


def final_hashes(session: Session) -> list[str]:
    folders = [session.checkpoints / "text_encoder-000006/text_encoder", session.checkpoints / "unet-000008/unet"]
    return [sha256(file) for folder in folders for file in sorted(folder.iterdir())]


def copy_of(session: Session, name: str) -> Session:
    folder = session.folder.parent / name
    shutil.copytree(session.folder, folder)
    return open_session_folder(folder)


def kill_at(session: Session, where: str, call_number: int, stage: str) -> None:
    command = [sys.executable, HERE / "kill_at.py", where, str(call_number), f"fsd.train.{stage}", session.folder]
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def trained_root(micro_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the session "cup", trained without interruption, and "fresh", a copy of how it began."""
    root = tmp_path_factory.mktemp("trained")
    session = make_micro_session(root, micro_model, {"text_encoder": 6, "unet": 8})
    copy_of(session, "fresh")
    for stage in BUILD:
        train(session, stage)
    return root


@pytest.fixture
def trained(trained_root: Path, tmp_path: Path) -> tuple[Session, Session]:
    """Both, for one test alone."""
    root = Path(shutil.copytree(trained_root, tmp_path / "root"))
    return open_session(root, "cup"), open_session(root, "fresh")


def test_three_kills_one_of_them_during_a_save_end_with_the_same_bits(trained: tuple[Session, Session]) -> None:
    whole, killed = trained
    kill_at(killed, "fsd.train.batch:Batches.at", 4, "text_encoder")
    assert train(killed, "text_encoder")["from_step"] == 2
    kill_at(killed, "fsd.weights.checkpoint:rename_over", 2, "unet")
    assert [folder.name for folder in killed.checkpoints.glob("unet-*")] == ["unet-000002"]
    kill_at(killed, "fsd.weights.checkpoint:prune", 2, "unet")
    assert train(killed, "unet")["from_step"] == 6
    assert final_hashes(killed) == final_hashes(whole)
    assert not list(killed.checkpoints.glob(".*"))


def test_a_killed_parent_has_the_child_save(micro_session: Session) -> None:
    micro_session.save_recipe(micro_session.recipe().changed(unet__steps=100_000, save__every_steps=100_000))
    code = f"from fsd.runtime.process import run_stage; run_stage('fsd.train.unet', {str(micro_session.folder)!r})"
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    shown = b""
    while b"loss=" not in shown:
        more = os.read(parent.stdout.fileno(), 4096)
        assert more, shown
        shown += more
    child = os.pidfd_open(int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()))
    parent.kill()
    parent.wait()
    assert select.select([child], [], [], 120)[0], "the child goes on without its parent"
    assert checkpoint.newest_checkpoint(micro_session.checkpoints, "unet", print)


@contextmanager
def stopping_at(step: int) -> Iterator[None]:
    """Have SIGTERM come while the batch of a step (from 0) is made."""
    real = Batches.at

    def at(self: Batches, at_step: int, device: torch.device) -> object:
        if at_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, at_step, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at", at)
        yield


def test_asked_to_stop_it_saves_and_goes_on_with_the_same_bits(trained: tuple[Session, Session]) -> None:
    whole, stopped = trained
    train(stopped, "text_encoder")
    with stopping_at(2), pytest.raises(Interrupted, match="stopped after step 3 of 8"):
        train(stopped, "unet")
    assert train(stopped, "unet")["from_step"] == 3
    assert final_hashes(stopped) == final_hashes(whole)


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16", "gradient_checkpointing": True, "schedule": "cosine", "warmup_steps": 3},
        {"optimizer": "adamw8bit", "prior.images": 2, "prior.weight": 0.5},
        {"max_grad_norm": 1.0},
        {"optimizer": "adamw8bit", "max_grad_norm": 1.0},
        {"optimizer": "prodigy", "unet.learning_rate": 1.0, "text_encoder.learning_rate": 1.0, "ema_decay": 0.9},
        {"optimizer": "adafactor", "gradient_accumulation": 2, "min_snr_gamma": 5.0, "multires_noise": 0.3},
        {"optimizer": "lion8bit", "augment.copies": 2, "captions.shuffles": 2, "captions.dropout": 0.3},
        {"optimizer": "lion", "buckets": True, "resolution_px": 128},
    ],
    ids=str,
)
def test_every_setting_goes_on_with_the_same_bits(micro_session: Session, settings: dict[str, object]) -> None:
    for number in range(2):
        photo = next(micro_session.instance_images.iterdir())
        shutil.copy(photo, micro_session.class_images / f"{number}{photo.suffix}")
    micro_session.save_recipe(micro_session.recipe().changed(**settings))
    stopped = copy_of(micro_session, "stopped")
    for stage in BUILD:
        train(micro_session, stage)
        with stopping_at(4), pytest.raises(Interrupted):
            train(stopped, stage)
        assert train(stopped, stage)["from_step"] == 5
    assert final_hashes(stopped) == final_hashes(micro_session)


class Half(torch.amp.GradScaler):
    """Loss scaling as a GPU does it in fp16, on a CPU: what is scaled beyond the range of fp16 is infinite."""

    def scale(self, outputs: torch.Tensor) -> torch.Tensor:
        return super().scale(outputs.half().float())


def test_loss_scaling_goes_on_with_the_same_bits_though_steps_are_left_out(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scaling(recipe: Recipe) -> Accelerator:
        made = make_accelerator(recipe)
        made.scaler = Half("cpu", init_scale=2.0**17, growth_interval=2)
        return made

    steps: list[tuple[dict, bool, float]] = []  # learning rates, whether weights changed, the scale afterwards
    real = Optimizer.step

    def step(self: Optimizer) -> None:
        weight = self.whole.param_groups[0]["params"][0]
        before = weight.detach().clone()
        real(self)
        rates = {group["label"]: group["lr"] for group in self.whole.param_groups}
        steps.append((rates, not torch.equal(before, weight), self.whole.scaler.get_scale()))

    monkeypatch.setattr(prepare, "make_accelerator", scaling)
    monkeypatch.setattr(Optimizer, "step", step)
    micro_session.save_recipe(micro_session.recipe().changed(warmup_steps=3, schedule="cosine", ema_decay=0.9))
    stopped = copy_of(micro_session, "stopped")
    for stage in BUILD:
        steps.clear()
        train(micro_session, stage)
        whole = [*steps]
        steps.clear()
        with stopping_at(2), pytest.raises(Interrupted):  # one good step since the last that was left out
            train(stopped, stage)
        assert train(stopped, stage)["from_step"] == 3
        assert [changed for _, changed, _ in whole][:6] == [False, False, True, True, False, True]
        assert [scale / 2**15 for *_, scale in whole][:6] == [2, 1, 1, 2, 1, 1]
        assert steps == whole
    assert final_hashes(stopped) == final_hashes(micro_session)
    rows = [read_metrics(session.logs / "metrics.jsonl")[-1] for session in (stopped, micro_session)]
    assert rows[0]["step"] == rows[1]["step"] == 8


def test_the_loss_of_a_learned_subject_falls(micro_session: Session) -> None:
    micro_session.save_recipe(
        micro_session.recipe().changed(unet__steps=120, unet__learning_rate=3e-3, save__every_steps=500)
    )
    train(micro_session, "unet")
    losses = [row["loss"] for row in read_metrics(micro_session.logs / "metrics.jsonl")]
    assert len(losses) == 12
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_fp16_without_a_gpu_is_refused(micro_session: Session) -> None:
    micro_session.save_recipe(micro_session.recipe().changed(precision="fp16"))
    with pytest.raises(MachineError, match="fp16, which needs a GPU"):
        train(micro_session, "unet")
    assert not list(micro_session.checkpoints.iterdir())


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(micro_session: Session) -> None:
    micro_session.save_recipe(
        micro_session.recipe().changed(unet__learning_rate=0.9, schedule="constant", unet__steps=400)
    )
    with pytest.raises(TrainingError, match="the loss is") as caught:
        train(micro_session, "unet")
    assert "begin again in a new session" in caught.value.hint
    kept = checkpoint.newest_checkpoint(micro_session.checkpoints, "unet", print)
    assert kept
    assert f"of step {kept.step}," in caught.value.hint
    assert all(tensor.isfinite().all() for tensor in load_file(next((kept.folder / "unet").glob("*.s*"))).values())


def test_a_damaged_newest_checkpoint_falls_back_and_says_so(
    trained: tuple[Session, Session], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, damaged = trained
    train(damaged, "text_encoder")
    kill_at(damaged, "fsd.train.batch:Batches.at", 6, "unet")
    weights = damaged.checkpoints / "unet-000004/unet/diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    capsys.readouterr()
    assert train(damaged, "unet")["from_step"] == 2
    assert "unet-000004 is damaged" in capsys.readouterr().out
    assert final_hashes(damaged) == final_hashes(whole)


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
        gpu.setattr(identity, "choose_optimizer", lambda kind, on_gpu: "adamw8bit")
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


def test_the_joint_way_trains_both_and_keeps_the_text_encoder_alone(micro_session: Session) -> None:
    joint = copy_of(micro_session, "joint")
    joint.save_recipe(joint.recipe().changed(text_encoder__unet="joint"))
    killed = copy_of(joint, "killed")
    train(joint, "text_encoder")
    kill_at(killed, "fsd.train.batch:Batches.at", 6, "text_encoder")
    assert (killed.checkpoints / "text_encoder-000004/unet").is_dir()
    assert train(killed, "text_encoder")["from_step"] == 4
    name = "text_encoder-000006"
    assert not (joint.checkpoints / name / "unet").exists()
    parts = [session.checkpoints / name / "text_encoder/model.safetensors" for session in (joint, killed)]
    assert sha256(parts[0]) == sha256(parts[1])


def test_sd2_trains_both_stages_and_is_saved_in_its_own_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "sd21", replace(FAMILIES["sd21"], allowed_px=(64, 1152)))
    session = make_micro_session(tmp_path, make_sd2(tmp_path / "sd2"), {"text_encoder": 2, "unet": 2})
    session.save_recipe(session.recipe().changed(family="sd21", force=True))
    for stage in BUILD:
        assert train(session, stage)["loss"] > 0
    saved = Path(pipeline.save_ckpt(session)["ckpt"])
    found = detect(saved)
    assert (found.layout, found.prediction) == ("sd2", "v_prediction")
    assert "parameterization: v" in saved.with_suffix(".yaml").read_text().replace('"', "")
