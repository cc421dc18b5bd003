"""`fsd plan`: the memory of each phase from real shapes, and settings that fit, chosen for a reason that is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from micro import make_micro_session

from fsd import planning
from fsd.planning import plan, plan_session
from fsd.recipe import Recipe

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned in this process, where PyTorch is loaded."""
    from fsd.train.plan import main

    def run_stage(module: str, request: str) -> Any:
        return json.loads(json.dumps(main([request])))

    monkeypatch.setattr(planning, "run_stage", run_stage)


def test_a_lora_of_flux_fits_16_gb_in_four_bits() -> None:
    found = plan("flux-dev", memory_gb=16)
    assert found["fits"] and found["settings"]["lora.quantize"] == "nf4" and found["settings"]["gradient_checkpointing"]
    phases = {phase["name"]: phase["bytes"] for phase in found["phases"]}
    assert list(phases) == ["encode images", "encode captions", "train the LoRA"]
    assert 9.4e9 < phases["encode captions"]["T5 v1.1 XXL"] < 9.7e9  # 4.76e9 numbers of 2 bytes, alone in memory
    assert 6.1e9 < phases["train the LoRA"]["backbone"] < 6.6e9  # 11.9e9 numbers of about half a byte
    assert found["peak_bytes"] == max(sum(held.values()) for held in phases.values()) < 16e9
    assert "of 16.00 GB, training can fill 15.04 GB" in found.text
    assert "too much: fp16, 8-bit AdamW: 58" in found.text, "why not the faster ones"
    assert "made in bf16" in found.text


def test_a_step_that_does_not_fit_at_once_goes_through_in_parts() -> None:
    whole = plan("sd15", batch_size=8, memory_gb=80)
    assert (whole["settings"]["batch_size"], whole["settings"]["gradient_accumulation"]) == (8, 1)
    assert "made in bf16" not in whole.text
    room = whole["peak_bytes"] / 1e9  # 6 % of it is kept free
    parted = plan("sd15", batch_size=8, memory_gb=room)
    assert (parted["settings"]["batch_size"], parted["settings"]["gradient_accumulation"]) == (4, 2)
    assert not parted["settings"]["gradient_checkpointing"] and "batch 8 in 2 parts" in parted.text
    assert parted["peak_bytes"] < 0.94e9 * room
    assert "batch_size=4 gradient_accumulation=2" in parted.text


def test_what_cannot_fit_is_said_with_the_leanest() -> None:
    found = plan("sd15", batch_size=2, memory_gb=3)
    assert not found["fits"] and "even the leanest settings need" in found.text
    assert found["settings"] == {
        "optimizer": "adamw8bit", "gradient_checkpointing": True, "batch_size": 1, "gradient_accumulation": 2
    }  # fmt: skip


def test_a_sessions_plan_goes_into_its_recipe_when_asked_to(
    tmp_path: Path, micro_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_machine", lambda: ("fp32", 80_000_000_000))
    session = make_micro_session(tmp_path, micro_model, {"unet": 2})
    assert not plan_session(session)["used"] and session.recipe().optimizer == "auto"
    found = plan_session(session, use=True)
    assert found["used"] and session.recipe().optimizer == "adamw" == found["settings"]["optimizer"]


def test_a_way_in_parts_asks_for_as_many_photos() -> None:
    ways = list(planning._ways(Recipe(precision="bf16", batch_size=12, gradient_accumulation=2)))
    assert {way.batch_size * way.gradient_accumulation for way in ways} == {24}
    assert {way.batch_size for way in ways} == {12, 6, 3}
    many = planning._ways(Recipe(precision="bf16", batch_size=256, gradient_accumulation=128))
    assert max(way.gradient_accumulation for way in many) == 256
