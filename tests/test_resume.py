"""Killed anywhere and started again, a run ends with the bits of an uninterrupted one."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from micro import make_micro_session
from pipelines import make_sd2
from runs import FULL, HERE, copy_of, final_hashes, kill_at, stopping_at, train
from safetensors.torch import load_file

from fsd import pipeline
from fsd.data.session import Session
from fsd.errors import Interrupted, MachineError, TrainingError
from fsd.families import FAMILIES
from fsd.recipe import Recipe
from fsd.runtime.files import sha256
from fsd.train import prepare
from fsd.train.device import make_accelerator
from fsd.train.metrics import read_metrics
from fsd.train.optimizer import Optimizer
from fsd.weights import checkpoint
from fsd.weights.detect import detect

AFTER_SAVE = "fsd.train.state:State._gathered"
"""What is called with each save, at the N-th once the one before is whole, which the steps after it do not wait for."""


def test_three_kills_one_of_them_during_a_save_end_with_the_same_bits(trained: tuple[Session, Session]) -> None:
    whole, killed = trained
    kill_at(killed, AFTER_SAVE, 2, "text_encoder")
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
    for stage in FULL:
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
    for stage in FULL:
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
        micro_session.recipe().changed(unet__steps=60, unet__learning_rate=1e-2, save__every_steps=500)
    )
    train(micro_session, "unet")
    losses = [row["loss"] for row in read_metrics(micro_session.logs / "metrics.jsonl")]
    assert len(losses) == 6
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
    kill_at(damaged, AFTER_SAVE, 3, "unet")
    weights = damaged.checkpoints / "unet-000004/unet/diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    capsys.readouterr()
    assert train(damaged, "unet")["from_step"] == 2
    assert "unet-000004 is damaged" in capsys.readouterr().out
    assert final_hashes(damaged) == final_hashes(whole)


def test_the_joint_way_trains_both_and_keeps_the_text_encoder_alone(micro_session: Session) -> None:
    joint = copy_of(micro_session, "joint")
    joint.save_recipe(joint.recipe().changed(text_encoder__unet="joint"))
    killed = copy_of(joint, "killed")
    train(joint, "text_encoder")
    kill_at(killed, AFTER_SAVE, 3, "text_encoder")
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
    for stage in FULL:
        assert train(session, stage)["loss"] > 0
    saved = Path(pipeline.save_ckpt(session)["ckpt"])
    found = detect(saved)
    assert (found.layout, found.prediction) == ("sd2", "v_prediction")
    assert "parameterization: v" in saved.with_suffix(".yaml").read_text().replace('"', "")
