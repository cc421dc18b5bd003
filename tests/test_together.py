"""Two processes on one stage, as `accelerate launch` starts them: what one process of twice the batch does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from micro import make_folder, make_micro_session
from pipelines import make_flux
from safetensors.torch import load_file
from together_child import BUILD

from fsd.data.session import Session, open_session_folder
from fsd.errors import MachineError, RecipeError
from fsd.families import FAMILIES
from fsd.recipe import Recipe
from fsd.train import sharding
from fsd.train.prepare import run_stage

HERE = Path(__file__).parent
STEPS = {"text_encoder": 3, "unet": 4, "lora": 4}


def train(session: Session, stage: str) -> dict[str, Any]:
    """A stage by this process alone."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return run_stage([str(session.folder)], stage, BUILD[stage])


def launch(*command: str) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` with two processes, which by that name also start where there are no GPUs."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    begin = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    begin += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return subprocess.run([*begin, *command], env=environment, capture_output=True, text=True, timeout=150)


def together(*jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """What two processes make of jobs, one after the other."""
    ended = launch(str(HERE / "together_child.py"), json.dumps(jobs))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(jobs)
    return found


def weights(session: Session, stage: str) -> dict[str, torch.Tensor]:
    folder = session.checkpoints / f"{stage}-{STEPS[stage]:06d}" / stage
    return load_file(next(folder.glob("*.safetensors")))


def need_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> None:
    """Sums in another order, nothing else: apart by a small share of what was learned.

    Of all weights together, as AdamW makes whole steps of gradients that are nothing but such sums' last bits.
    """
    assert one.keys() == other.keys()
    names = [name for name in one if "lora_A" not in name]  # which start from what dwarfs what they learn
    learned = torch.cat([(one[name] - before.get(name, torch.zeros(()))).flatten() for name in names]).norm()
    apart = torch.cat([(one[name] - other[name]).flatten() for name in names]).norm()
    assert learned > 0
    assert apart < 0.001 * learned


@pytest.fixture
def copies(tmp_path: Path) -> Callable[[Session, str], Session]:
    """A function that copies a session and halves its batch."""

    def copy(session: Session, name: str) -> Session:
        found = open_session_folder(Path(shutil.copytree(session.folder, tmp_path / name)))
        found.save_recipe(found.recipe().changed(batch_size=1))
        return found

    return copy


def test_two_processes_do_what_one_of_twice_the_batch_does(
    tmp_path: Path, copies: Callable[[Session, str], Session]
) -> None:
    model = make_folder(tmp_path / "model")
    one = make_micro_session(tmp_path, model, {"text_encoder": 3, "unet": 4})
    two, stopped = copies(one, "two"), copies(one, "stopped")
    jobs = [{"folder": str(two.folder), "stage": stage} for stage in ("text_encoder", "unet")]
    again = [{"folder": str(stopped.folder), "stage": stage} for stage in ("text_encoder", "unet", "unet")]
    again[1]["stop_after"] = 3
    found = together(*jobs, *again)
    assert "stopped after step 3 of 4" in found[3]["error"]
    assert found[4]["result"]["from_step"] == 3
    for stage in ("text_encoder", "unet"):
        train(one, stage)
        need_alike(weights(one, stage), weights(two, stage), load_file(next((model / stage).glob("*.safetensors"))))
    whole, resumed = weights(two, "unet"), weights(stopped, "unet")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    (stopped.checkpoints / "unet-000004").rename(tmp_path / "unet-000004")
    with pytest.raises(RecipeError, match="processes was 2, is 1"):
        train(stopped, "unet")


def test_accelerate_launches_the_lora_stage(tmp_path: Path, copies: Callable[[Session, str], Session]) -> None:
    one = make_micro_session(tmp_path, make_folder(tmp_path / "model"), {"lora": 4})
    one.save_recipe(one.recipe().changed(method="lora"))
    two = copies(one, "two")
    ended = launch("-m", "fsd.train.lora", str(two.folder))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count('"result"') == 1  # the first process alone speaks
    train(one, "lora")
    need_alike(weights(one, "lora"), weights(two, "lora"), {})


def test_fsdp_trains_the_lora_of_a_large_backbone(
    tmp_path: Path, copies: Callable[[Session, str], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = replace(FAMILIES["flux-dev"], allowed_px=(64, 2048), usual_px=(64, 2048))
    monkeypatch.setitem(FAMILIES, "flux-dev", family)
    one = make_micro_session(tmp_path, make_flux(tmp_path / "flux"), {"lora": 4})
    settings = {"family": "flux-dev", "method": "lora", "ema_decay": 0.5, "max_grad_norm": 1.0}
    one.save_recipe(one.recipe().changed(gradient_accumulation=2, gradient_checkpointing=True, **settings))
    plain, sharded, stopped = (copies(one, name) for name in ("plain", "sharded", "stopped"))
    found = together(
        {"folder": str(plain.folder), "stage": "lora"},
        {"folder": str(sharded.folder), "stage": "lora", "fsdp": True},
        {"folder": str(stopped.folder), "stage": "lora", "fsdp": True, "stop_after": 3},
        {"folder": str(stopped.folder), "stage": "lora"},
        {"folder": str(stopped.folder), "stage": "lora", "fsdp": True},
        {"folder": str(stopped.folder), "stage": "unet", "fsdp": True},
    )
    assert "stopped after step 3 of 4" in found[2]["error"]
    assert "sharded was True, is False" in found[3]["error"]
    assert found[4]["result"]["from_step"] == 3
    assert "the stage unet trains whole weights" in found[5]["error"]
    expected, whole, resumed = (weights(session, "lora") for session in (plain, sharded, stopped))
    need_alike(expected, whole, {})
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"lora.quantize": "nf4"}, "lora.quantize is 'nf4'"),
        ({"optimizer": "adamw8bit"}, "optimizer is 'adamw8bit', not auto or adamw"),
        ({"compile": "on"}, "compile is 'on'"),
    ],
    ids=str,
)
def test_what_fsdp_cannot_do_is_refused(settings: dict[str, str], fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        sharding.need_shardable(Recipe().changed(**settings), "lora")


def test_fsdp_without_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    AcceleratorState._reset_state(reset_partial_state=True)
    from fsd.train.device import make_accelerator

    with pytest.raises(MachineError, match="there are 1 on cpu"):
        make_accelerator(Recipe())
