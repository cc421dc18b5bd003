"""Two processes on one stage, as `accelerate launch` starts them: what one process of twice the batch does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from micro import make_folder, make_micro_session
from pipelines import make_flux
from runs import HERE, train
from safetensors.torch import load_file

from fsd.data.session import Session, open_session_folder
from fsd.errors import MachineError, RecipeError
from fsd.families import FAMILIES
from fsd.recipe import Recipe
from fsd.train import sharding

STEPS = {"text_encoder": 3, "unet": 4, "lora": 4}


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


@dataclass
class Started:
    """Sessions as they begin, and by name what two processes made of copies with half the batch, one job after the other."""

    model: Path
    one: Session
    two: Session
    stopped: Session
    plain: Session
    sharded: Session
    sharded_stopped: Session
    found: dict[str, dict[str, Any]]


def half(session: Session, name: str) -> Session:
    """A copy of a session, with half its batch."""
    found = open_session_folder(Path(shutil.copytree(session.folder, session.folder.parents[2] / name)))
    found.save_recipe(found.recipe().changed(batch_size=1))
    return found


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Both tests' jobs by one pair of processes, whose start takes more than all of them."""
    full, large = (tmp_path_factory.mktemp(name) for name in ("full", "large"))
    model = make_folder(full / "model")
    one = make_micro_session(full, model, {"text_encoder": 3, "unet": 4})
    family = replace(FAMILIES["flux-dev"], allowed_px=(64, 2048), usual_px=(64, 2048))
    settings = {"family": "flux-dev", "method": "lora", "ema_decay": 0.5, "max_grad_norm": 1.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "flux-dev", family)
        flux = make_micro_session(large, make_flux(large / "flux"), {"lora": 4})
        flux.save_recipe(flux.recipe().changed(gradient_accumulation=2, gradient_checkpointing=True, **settings))
        copies = [
            half(one, "two"),
            half(one, "stopped"),
            *(half(flux, name) for name in ("plain", "sharded", "stopped")),
        ]
        two, stopped, plain, sharded, sharded_stopped = copies
        jobs: dict[str, tuple[Session, str, dict[str, Any]]] = {
            "two's text encoder": (two, "text_encoder", {}),
            "two": (two, "unet", {}),
            "stopped's text encoder": (stopped, "text_encoder", {}),
            "stopped": (stopped, "unet", {"stop_after": 3}),
            "resumed": (stopped, "unet", {}),
            "plain": (plain, "lora", {}),
            "sharded": (sharded, "lora", {"fsdp": True}),
            "sharded, stopped": (sharded_stopped, "lora", {"fsdp": True, "stop_after": 3}),
            "resumed in whole": (sharded_stopped, "lora", {}),
            "sharded, resumed": (sharded_stopped, "lora", {"fsdp": True}),
            "sharded UNet": (sharded_stopped, "unet", {"fsdp": True}),
        }
        made = together(*({"folder": str(of.folder), "stage": stage, **how} for of, stage, how in jobs.values()))
        yield Started(model, one, *copies, dict(zip(jobs, made, strict=True)))


def test_two_processes_do_what_one_of_twice_the_batch_does(started: Started, tmp_path: Path) -> None:
    model, one, two, stopped = started.model, started.one, started.two, started.stopped
    assert "stopped after step 3 of 4" in started.found["stopped"]["error"]
    assert started.found["resumed"]["result"]["from_step"] == 3
    for stage in ("text_encoder", "unet"):
        train(one, stage)
        need_alike(weights(one, stage), weights(two, stage), load_file(next((model / stage).glob("*.safetensors"))))
    whole, resumed = weights(two, "unet"), weights(stopped, "unet")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    (stopped.checkpoints / "unet-000004").rename(tmp_path / "unet-000004")
    with pytest.raises(RecipeError, match="processes was 2, is 1"):
        train(stopped, "unet")


def test_accelerate_launches_the_lora_stage(tmp_path: Path) -> None:
    one = make_micro_session(tmp_path, make_folder(tmp_path / "model"), {"lora": 4})
    one.save_recipe(one.recipe().changed(method="lora"))
    two = half(one, "two")
    ended = launch("-m", "fsd.train.lora", str(two.folder))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count('"result"') == 1  # the first process alone speaks
    train(one, "lora")
    need_alike(weights(one, "lora"), weights(two, "lora"), {})


def test_fsdp_trains_the_lora_of_a_large_backbone(started: Started) -> None:
    found = started.found
    assert "stopped after step 3 of 4" in found["sharded, stopped"]["error"]
    assert "sharded was True, is False" in found["resumed in whole"]["error"]
    assert found["sharded, resumed"]["result"]["from_step"] == 3
    assert "the stage unet trains whole weights" in found["sharded UNet"]["error"]
    sessions = (started.plain, started.sharded, started.sharded_stopped)
    expected, whole, resumed = (weights(session, "lora") for session in sessions)
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
