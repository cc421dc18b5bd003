"""Compiled blocks: the same loss, the same bits when a run goes on, and a run that goes on where they cannot be compiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
import torch._inductor.config
from micro import make_micro_session
from pipelines import make_sd3
from runs import copy_of, stopping_at, train
from safetensors.torch import load_file

from fsd.data.session import Session
from fsd.errors import Interrupted, RecipeError
from fsd.families import FAMILIES
from fsd.recipe import Recipe
from fsd.train import compiling
from fsd.train.metrics import read_metrics
from fsd.weights.checkpoint import newest_checkpoint


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    """PyTorch's compiler as it was, also afterwards."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(suppress_errors=False), torch.compiler.set_stance("default"):
        yield


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the graphs that are compiled, without what inductor makes of them, which takes minutes."""
    sizes: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(compiling, "BACKEND", backend)
    return sizes


def chosen(session: Session, stage: str = "unet") -> str:
    found = newest_checkpoint(session.checkpoints, stage, print)
    assert found
    return found.facts["chosen"]["compile"]


def losses(session: Session) -> list[float]:
    return [row["loss"] for row in read_metrics(session.logs / "metrics.jsonl")]


def with_compile(session: Session, name: str) -> Session:
    found = copy_of(session, name)
    found.save_recipe(found.recipe().changed(compile="on"))
    return found


def weights_of(session: Session) -> dict[str, torch.Tensor]:
    return load_file(session.checkpoints / "unet-000008/unet/diffusion_pytorch_model.safetensors")


def test_it_learns_the_same_and_goes_on_with_the_same_bits(micro_session: Session, compiled: list[int]) -> None:
    on, stopped = with_compile(micro_session, "on"), with_compile(micro_session, "stopped")
    train(micro_session)
    assert chosen(micro_session) == "off"
    assert not compiled
    train(on)
    assert chosen(on) == "on"
    assert compiled
    with stopping_at(2), pytest.raises(Interrupted):
        train(stopped)
    assert train(stopped)["from_step"] == 3
    assert losses(on) == pytest.approx(losses(micro_session), rel=1e-4)
    whole, again = weights_of(on), weights_of(stopped)
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []


def test_without_a_compiler_it_goes_on_and_stays_so(
    micro_session: Session, compiled: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = with_compile(micro_session, "broken")
    train(micro_session)
    missing = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with monkeypatch.context() as patch, missing:
        patch.setattr(compiling, "BACKEND", "inductor")
        with stopping_at(4), pytest.raises(Interrupted):
            train(broken)
    said = [line for line in capsys.readouterr().out.splitlines() if "torch.compile" in line]
    assert len(said) == 1
    assert "training goes on without" in said[0]
    assert chosen(broken) == "off"
    assert train(broken)["from_step"] == 5
    assert not compiled
    expected, found = weights_of(micro_session), weights_of(broken)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_blocks_of_a_transformer_are_compiled_with_their_lora(
    tmp_path: Path, compiled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = replace(FAMILIES["sd35-large"], allowed_px=(64, 2048), usual_px=(64, 2048))
    monkeypatch.setitem(FAMILIES, "sd35-large", family)
    session = make_micro_session(tmp_path, make_sd3(tmp_path / "sd3"), {"lora": 2})
    session.save_recipe(
        session.recipe().changed(
            family="sd35-large", method="lora", compile="on", lora__dropout=0.1, gradient_checkpointing=True
        )
    )
    assert train(session, "lora")["loss"] > 0
    assert chosen(session, "lora") == "on"
    assert compiled


def test_auto_compiles_where_a_card_can_and_the_run_is_long_enough(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = Recipe(method="lora", resolution_px=1024), micro_session.folder
    monkeypatch.setattr(compiling, "parameters", lambda _: 12_000_000_000)
    assert compiling.choose_compile(recipe, "lora", folder) == "off"  # no GPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert compiling.choose_compile(recipe, "lora", folder) == "on"
    assert compiling.choose_compile(recipe, "text_encoder", folder) == "off"
    for settings in ({"lora.steps": 100}, {"lora.quantize": "nf4"}, {"buckets": True}, {"compile": "off"}):
        assert compiling.choose_compile(recipe.changed(**settings), "lora", folder) == "off", settings
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert compiling.choose_compile(recipe, "lora", folder) == "off"
    assert compiling.choose_compile(recipe.changed(compile="on"), "lora", folder) == "on"


def test_quantized_weights_are_not_compiled() -> None:
    settings = {"family": "flux-dev", "method": "lora", "resolution_px": 1024, "lora.quantize": "nf4"}
    with pytest.raises(RecipeError, match=r"compile is 'on', and lora.quantize is 'nf4'"):
        Recipe().changed(compile="on", **settings).checked()
    assert Recipe().changed(**settings).checked().compile == "auto"
