"""A session that trained a LoRA, at all the places that know sessions: shown, saved, sent, copied, drawn with, cleaned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from micro import make_micro_session, torch

from fsd import pipeline, sharing, upkeep
from fsd.data import session as sessions
from fsd.data.archive import export_session, import_session
from fsd.data.session import Session, open_session_folder
from fsd.generate.models import open_model
from fsd.recipe import Recipe
from fsd.runtime import report
from fsd.train import lora
from fsd.train.prepare import run_stage
from fsd.webui.choices import loras
from fsd.webui.desk import Desk
from fsd.webui.models import find_model, lora_files, model_file
from fsd.weights.detect import detect
from fsd.weights.model import trained_model
from fsd.weights.model_card import model_card
from fsd.weights.weight_file import read_weights


@pytest.fixture(scope="module")
def once(micro_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of sessions with one that has trained its LoRA to the end."""
    session = make_micro_session(tmp_path_factory.mktemp("lora"), micro_model, {"lora": 2})
    session.save_recipe(session.recipe().changed(method="lora", lora__rank=2))
    run_stage([str(session.folder)], "lora", lora.build)
    return session.folder.parents[2]


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Session:
    copy = shutil.copytree(once, tmp_path / "root")
    return open_session_folder(copy / "Fast-Dreambooth" / "Sessions" / "cup")


def test_it_is_shown_and_saved_with_its_trigger_words(trained: Session) -> None:
    found = sessions.describe(trained)
    assert (found["state"], found["next"], found["steps_done"]) == ("trained", "save-lora", {"lora": 2})
    saved = pipeline.save_lora(trained)
    assert Path(saved["lora"]) == trained.loras / "cup.safetensors"
    notes = read_weights(Path(saved["lora"]))[1]
    assert (notes["modelspec.title"], notes["modelspec.trigger_phrase"]) == ("cup", "sks cup")
    assert notes["ss_network_dim"] == "2"
    after = sessions.describe(trained)
    assert (after["state"], after["next"], after["loras"]) == ("LoRA saved", "generate", ["cup.safetensors"])


def test_the_method_may_change_and_the_lora_is_saved_all_the_same(trained: Session) -> None:
    trained.save_recipe(trained.recipe().changed(method="full"))
    assert Path(pipeline.save_lora(trained, step="lora-000002")["lora"]).name == "cup-lora-000002.safetensors"


def test_its_file_is_what_publish_sends(trained: Session) -> None:
    recipe = trained.recipe()
    model = trained_model(Path(recipe.base_model), trained.checkpoints, recipe, report.say)
    assert sharing._file_of(trained, model) is None
    written = sharing._written(trained, model)
    assert sharing._file_of(trained, model) == written == trained.loras / "cup.safetensors"


def test_the_model_card_of_a_lora() -> None:
    recipe = Recipe(family="flux-dev", class_word="dog", resolution_px=1024).changed(method="lora", lora__rank=8)
    card = model_card("cup", recipe, "cup.safetensors", "LoRA: lora-000500")
    for part in (
        "File: `cup.safetensors`, a LoRA of rank 8", "Trigger words: `sks dog`", 'base_model_relation: "adapter"',
        'base_model: "black-forest-labs/FLUX.1-dev"', '"lora"', "A LoRA for FLUX.1 [dev]",
    ):  # fmt: skip
        assert part in card
    assert "DreamBooth" not in card


def test_it_goes_out_and_comes_in_under_another_name(trained: Session, tmp_path: Path) -> None:
    pipeline.save_lora(trained)
    copy = import_session(tmp_path / "root", export_session(trained, tmp_path / "cup.zip"), "mug")
    assert [path.name for path in copy.lora_files()] == ["mug.safetensors"]
    assert upkeep.show_session(copy)["steps_done"] == {"lora": 2}


def test_pictures_by_its_file_are_those_of_its_checkpoint(trained: Session) -> None:
    recipe, file = trained.recipe(), pipeline.save_lora(trained)["lora"]
    models = [open_model(trained, recipe, model) for model in ("", "lora-000002", file, "base")]
    assert [model.trained for model in models] == [True, True, True, False]
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v"  # attn1 sees one place alone
    newest, step, filed, base = (model.pipeline.unet.get_submodule(name).weight for model in models)
    assert torch.equal(newest, step) and (newest - filed).abs().max() < 1e-6
    assert not torch.equal(newest, base)


def test_a_web_ui_opens_its_base_and_finds_the_lora(trained: Session, capsys: pytest.CaptureFixture[str]) -> None:
    root, saved = trained.folder.parents[2], []

    def save(session: Session, step: str) -> Path:
        saved.append(step)
        return Path(pipeline.save_lora(session, step)["lora"])

    desk = Desk(root, "a1111", root / "local")
    desk.lay_out()
    made = {
        model_file(find_model(spec, root), desk.checkpoints, None, save) for spec in ("cup", "cup@lora-000002", "cup")
    }
    assert [detect(file).kind for file in made] == ["model"], "it is converted once"
    assert saved == ["", "lora-000002"]
    assert "its LoRA works where the prompt says <lora:cup-lora-000002:1>" in capsys.readouterr().out
    offered = lora_files(trained, desk.loras)
    assert [path.name for path in offered] == ["cup-lora-000002.safetensors", "cup.safetensors"]
    assert [choice.title for choice in loras(root)] == ["cup: cup-lora-000002", "cup: cup"]


def test_cleaning_leaves_the_lora(trained: Session) -> None:
    assert upkeep.clean_session(trained, "all")["freed_bytes"] > 0
    assert Path(pipeline.save_lora(trained)["lora"]).is_file()
