"""Pictures: the same seed gives the same start, files are whole and named, class images are resumable."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from micro import make_folder
from PIL import Image
from subjects import train_a_little

from fsd import pipeline
from fsd.data.dataset import class_photos
from fsd.data.session import Session
from fsd.errors import RecipeError, SessionError, WeightsError
from fsd.families import FAMILIES
from fsd.generate import class_images, images
from fsd.generate.class_images import class_images_are_there, class_order, make_class_images
from fsd.generate.images import Order, Sampling, make_pictures
from fsd.generate.models import load_ckpt, open_base, open_model
from fsd.generate.request import PictureRequest
from fsd.generate.sample import main, make, training_samples
from fsd.recipe import Recipe
from fsd.runtime.process import run_stage
from fsd.weights.ckpt import save_ckpt
from fsd.weights.model import base_parts, trained_model

FEW = Sampling(2, 5.0, 64, 64)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The family's pictures take two steps in this process."""
    monkeypatch.setitem(FAMILIES, "tiny", replace(FAMILIES["tiny"], sample_steps=2))


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_seed_fixes_its_picture_whatever_is_made_beside_it(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = open_base(micro_session.recipe()).pipeline
    orders = [Order("a dog", 5), Order("a cat", 6), Order("a dog", 7)]
    together = [np.asarray(image).astype(int) for _, image in make_pictures(pipeline, orders, FEW)]
    monkeypatch.setitem(images._PIXELS_AT_ONCE, "cpu", 64 * 64)
    alone = [np.asarray(image).astype(int) for _, image in make_pictures(pipeline, orders, FEW)]
    assert max(np.abs(a - b).max() for a, b in zip(together, alone, strict=True)) <= 1
    assert np.abs(together[0] - together[2]).max() > 1


def test_no_safety_checker_and_the_base_models_scheduler(micro_session: Session, micro_model: Path) -> None:
    model = open_model(micro_session, micro_session.recipe(), "")
    assert not model.trained
    assert model.name == str(micro_model)
    assert model.pipeline.safety_checker is None
    assert images.sampler_name(model.pipeline) == "DDIM"


def test_pictures_asked_for_are_named_labelled_and_carry_their_settings(micro_session: Session) -> None:
    asked = {"prompts": ["a photo of sks cup, red!", "A photo of SKS cup red"], "seeds": [0, 9], "steps": 2}
    found = run_stage("fsd.generate.sample", str(micro_session.folder), "--request", json.dumps(asked))
    names = [Path(path).name for path in found["images"]]
    slug = "a-photo-of-sks-cup-red"
    assert names == [f"{number}-{slug}-{seed}.png" for number in ("01", "02") for seed in (0, 9)]
    assert Path(found["grid"]).parent == micro_session.samples / "pictures" / "0001"
    assert {path.parent for path in map(Path, found["images"])} == {Path(found["grid"]).parent}
    settings = images.saved_text(Path(found["images"][1]))
    assert settings.startswith(
        "a photo of sks cup, red!\nSteps: 2, Sampler: DDIM, CFG scale: 5.0, Seed: 9, Size: 64x64"
    )
    assert Image.open(found["grid"]).width > 2 * 160


def test_what_was_drawn_before_is_never_overwritten(micro_session: Session) -> None:
    (micro_session.samples / "pictures" / "0041").mkdir(parents=True)
    first = make(micro_session, PictureRequest(prompts=("a cup",), seeds=(0,), steps=1))
    kept = {path: Path(path).read_bytes() for path in (*first["images"], first["grid"])}
    second = make(micro_session, PictureRequest(prompts=("a cup",), seeds=(0,), steps=2, negative="blurry"))
    assert [Path(made["grid"]).parent.name for made in (first, second)] == ["0042", "0043"]
    assert {path: Path(path).read_bytes() for path in kept} == kept


@pytest.mark.parametrize("prompts", [("a no3", "a", "a"), (f"{'a ' * 40}dog", f"{'a ' * 40}cat")])
def test_every_picture_of_a_call_has_a_name_of_its_own(micro_session: Session, prompts: tuple[str, ...]) -> None:
    made = make(micro_session, PictureRequest(prompts=prompts, seeds=(0,), steps=1))
    assert len(set(made["images"])) == len(prompts)


def test_negative_prompt_and_destination(micro_session: Session, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = PictureRequest(prompts=("寿司",), seeds=(0,), steps=1, negative="blurry", destination=str(out))
    found = make(micro_session, asked)
    assert Path(found["images"][0]).parent == out / "0001"
    assert images.saved_text(Path(found["images"][0])).startswith("寿司\nNegative prompt: blurry\nSteps: 1,")
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match="not a folder"):
        make(micro_session, PictureRequest(destination=str(tmp_path / "file")))


def test_checkpoints_base_and_ckpt_draw_their_own_models(
    micro_session: Session, micro_model: Path, tmp_path: Path
) -> None:
    train_a_little(micro_session)
    model = trained_model(micro_model, micro_session.checkpoints, micro_session.recipe(), print)
    ckpt = save_ckpt(model.parts, tmp_path / "cup.safetensors", dtype="fp32").path

    def draw(model: str) -> np.ndarray:
        asked = PictureRequest(seeds=(1,), steps=2, model=model, destination=str(tmp_path / "out"))
        found = make(micro_session, asked)
        assert f"Model: {expected[model]}" in images.saved_text(Path(found["images"][0]))
        return pixels(found["images"][0])

    newest = "cup+text_encoder-000006+unet-000008"
    expected = {"": newest, "base": str(micro_model), "unet-000008": newest, str(ckpt): "cup"}
    drawn = {model: draw(model) for model in expected}
    assert np.abs(drawn[""] - drawn["base"]).max() > 1
    assert np.array_equal(drawn[""], drawn["unet-000008"])
    assert np.abs(drawn[""] - drawn[str(ckpt)]).max() <= 1


def test_a_ckpt_is_drawn_with_the_scheduler_of_the_base_model(micro_model: Path, tmp_path: Path) -> None:
    ckpt = save_ckpt(base_parts(micro_model), tmp_path / "cup.safetensors").path
    base = shutil.copytree(micro_model, tmp_path / "base")
    settings = json.loads((base / "scheduler/scheduler_config.json").read_text())
    (base / "scheduler/scheduler_config.json").write_text(json.dumps({**settings, "prediction_type": "v_prediction"}))
    assert load_ckpt(base, ckpt).scheduler.config.prediction_type == "v_prediction"


def test_a_folder_is_remembered_as_base_model_wherever_one_stands(
    micro_session: Session, micro_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(micro_model.parent)
    pipeline.choose_base_model(micro_session, f"./{micro_model.name}", family="tiny", resolution_px=64)
    assert micro_session.recipe().base_model == str(micro_model.resolve())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    pipeline.choose_base_model(micro_session, "tiny")
    assert (micro_session.recipe().family, micro_session.recipe().base_model) == ("tiny", "tiny")


@pytest.mark.parametrize("model", ["unet-000777", "nowhere.safetensors"])
def test_a_model_that_is_not_there(micro_session: Session, model: str) -> None:
    with pytest.raises(WeightsError, match=model):
        open_model(micro_session, micro_session.recipe(), model)


def test_a_file_that_is_no_model(micro_session: Session, tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": {"weight": torch.zeros(3)}, "callbacks": [timedelta(1)]}, tmp_path / "old.ckpt")
    with pytest.raises(WeightsError, match=r"datetime\.timedelta"):
        open_model(micro_session, micro_session.recipe(), str(tmp_path / "old.ckpt"))
    (tmp_path / "bad.safetensors").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match=r"bad\.safetensors is damaged"):
        open_model(micro_session, micro_session.recipe(), str(tmp_path / "bad.safetensors"))


def test_training_samples(micro_session: Session) -> None:
    train_a_little(micro_session)
    found = main([str(micro_session.folder), "--training-samples", "unet-000008"])
    folder = micro_session.samples / "unet-000008"
    assert sorted(path.name for path in folder.iterdir()) == ["01.png", "02.png", "03.png", "04.png", "grid.png"]
    assert images.saved_text(folder / "02.png").startswith("photo of sks cup\n")
    assert found["grid"] == str(folder / "grid.png")
    micro_session.save_recipe(
        micro_session.recipe().changed(samples__prompts=("a sks cup", "{identifier} {class}"), samples__seed=5)
    )
    found = training_samples(micro_session, "text_encoder-000006")
    settings = images.saved_text(Path(found["images"][1]))
    assert settings.startswith("sks cup\n")
    assert "Seed: 6," in settings


@pytest.fixture
def prior_session(micro_session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session that wants five class images of two prompts, three made at once."""
    monkeypatch.setitem(images._PIXELS_AT_ONCE, "cpu", 3 * 64 * 64)
    prior = {"prior__images": 5, "prior__prompts": ("a photo of a {class}", "a photo of a dog {identifier}")}
    micro_session.save_recipe(micro_session.recipe().changed(**prior))
    return micro_session


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_class_images_are_made_captioned_and_made_again_where_missing(prior_session: Session) -> None:
    folder = prior_session.class_images
    assert not class_images_are_there(prior_session)
    assert make_class_images(prior_session) == {"made": 5, "class_images": 5, "folder": str(folder)}
    assert class_images_are_there(prior_session)
    prompts = [photo.prompt for photo in class_photos(prior_session)]
    assert prompts == ["a photo of a cup", "a photo of a dog"] * 2 + ["a photo of a cup"]
    whole = state(folder)
    (folder / "0003.txt").unlink()
    assert not class_images_are_there(prior_session)
    (folder / "0001.png").unlink()
    (folder / "0004.png").unlink()
    (folder / ".0004.png.partial-12345678").write_bytes(b"half")
    assert make_class_images(prior_session)["made"] == 2
    assert state(folder) == whole
    assert make_class_images(prior_session)["made"] == 0


def test_class_images_of_another_prompt_are_replaced_and_the_users_own_are_kept(prior_session: Session) -> None:
    folder = prior_session.class_images
    Image.new("RGB", (80, 64), "teal").save(folder / "0002.png")
    Image.new("RGB", (80, 64), "navy").save(folder / "my cup.jpg")
    own = {name: (folder / name).read_bytes() for name in ("0002.png", "my cup.jpg")}
    assert make_class_images(prior_session) == {"made": 3, "class_images": 5, "folder": str(folder)}
    assert (folder / "0003.png").exists()
    (folder / "0000.txt").write_text("my caption", encoding="utf-8")
    prior_session.save_recipe(prior_session.recipe().changed(prior__prompts=("a photo of a cup", "a photo of a fox")))
    assert make_class_images(prior_session)["made"] == 2  # 0001 and 0003
    assert (folder / "0001.txt").read_text(encoding="utf-8") == "a photo of a fox"
    assert (folder / "0000.txt").read_text(encoding="utf-8") == "my caption"
    assert {name: (folder / name).read_bytes() for name in own} == own


def test_pictures_of_a_web_ui_are_the_users_own(prior_session: Session) -> None:
    folder = prior_session.class_images
    for name in ("0000.png", "0001.png", "00000-123.png"):
        images.save_png(Image.new("RGB", (80, 64), "teal"), folder / name, {"parameters": "a cup\nSteps: 20, Seed: 1"})
    own = state(folder)
    assert make_class_images(prior_session)["made"] == 2
    assert sorted(path.name for path in folder.glob("*.png")) == sorted([*own, "0002.png", "0003.png"])
    assert {name: (folder / name).read_bytes() for name in own} == own


def test_own_class_images_added_later_take_the_place_of_made_ones(prior_session: Session) -> None:
    folder = prior_session.class_images
    make_class_images(prior_session)
    (folder / "0003.txt").write_text("my caption", encoding="utf-8")
    for name in ("my cup 1.jpg", "my cup 2.jpg", "0004.jpg"):
        Image.new("RGB", (80, 64), "navy").save(folder / name)
    assert not class_images_are_there(prior_session)  # those of ours that are too many now
    assert make_class_images(prior_session)["made"] == 0
    assert class_images_are_there(prior_session)
    used = [photo.path.name for photo in class_photos(prior_session)]
    assert used == ["0000.png", "0001.png", "0004.jpg", "my cup 1.jpg", "my cup 2.jpg"]
    assert [path.name for path in sorted(folder.glob("*.txt"))] == ["0000.txt", "0001.txt", "0003.txt"]


@pytest.mark.parametrize("change", [{"base_model": "another"}, {"resolution_px": 128}, {"seed": 1}])
def test_class_images_made_from_something_else_are_made_again(
    prior_session: Session, tmp_path: Path, change: dict[str, object]
) -> None:
    make_class_images(prior_session)
    if "base_model" in change:
        change = {"base_model": str(make_folder(tmp_path / "another", layers=2))}
    prior_session.save_recipe(prior_session.recipe().changed(**change))
    assert make_class_images(prior_session)["made"] == 5
    assert make_class_images(prior_session)["made"] == 0


def test_class_images_are_a_function_of_recipe_and_number() -> None:
    recipe = Recipe(class_word="cup", seed=3)
    assert class_order([recipe], 4) == class_order([recipe], 4) != class_order([recipe], 5)
    assert class_order([recipe], 4).prompt == "photo of cup"
    assert class_order([recipe], 4).seed != class_order([Recipe(class_word="cup", seed=4)], 4).seed


def test_no_class_images_without_need(micro_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_images, "_make", lambda *_: pytest.fail("nothing was to be made"))
    assert make_class_images(micro_session)["made"] == 0


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"prompt": "a dog"}, "'prompt'"),
        ({"prompts": "a dog"}, "prompts is 'a dog', not a list of texts"),
        ({"prompts": [1]}, "not a list of texts"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [-1]}, "seed is -1"),
        ({"seeds": [1.5]}, "not a list of whole numbers"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1000}, "steps is 1000, not 1 to 999"),
        ({"steps": True}, "steps is True"),
        ({"guidance": 1000}, "guidance is 1000"),
        ([1], "not a JSON object"),
    ],
)
def test_bad_requests_are_refused(asked: object, fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        PictureRequest.from_json(json.dumps(asked))


def test_a_child_passes_its_error_on(micro_session: Session, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no setting 'seed'"):
        run_stage("fsd.generate.sample", str(micro_session.folder), "--request", '{"seed": 1}')
    shutil.rmtree(micro_session.folder)
    with pytest.raises(SessionError):
        run_stage("fsd.generate.sample", str(micro_session.folder), "--class-images")
