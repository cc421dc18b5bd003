"""Settings: every fault at once, exact JSON, and what a run's identity depends on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsd.errors import RecipeError
from fsd.presets import settings_for, with_preset
from fsd.recipe import Recipe, load_recipe

GOOD = Recipe(class_word="dog")


def test_json_round_trip_keeps_every_setting() -> None:
    recipe = GOOD.changed(
        unet__steps=7, prior__prompts=("a cat", "a {class}"), samples__prompts=["x"], schedule="cosine"
    )
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.unet.steps == 7


def test_missing_settings_take_their_defaults() -> None:
    assert Recipe.from_json({"class_word": "dog"}) == GOOD


def test_defaults_are_the_original_suites() -> None:
    assert (GOOD.unet.steps, GOOD.unet.learning_rate) == (1500, 2e-6)
    assert (GOOD.text_encoder.steps, GOOD.text_encoder.learning_rate) == (350, 1e-6)
    assert (GOOD.schedule, GOOD.resolution_px, GOOD.text_encoder.unet) == ("linear", 512, "frozen")


def test_all_faults_are_named_at_once() -> None:
    faulty = GOOD.changed(unet__steps=-1, batch_size=0, resolution_px=500, identifier=" ", save__keep=1)
    with pytest.raises(RecipeError) as caught:
        faulty.checked()
    for part in (
        "unet.steps is -1",
        "batch_size is 0",
        "resolution_px is 500",
        "identifier is empty",
        "save.keep is 1",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"unet.steps": 1.5}, "unet.steps is 1.5"),
        ({"unet.steps": True}, "unet.steps is True"),
        ({"unet.steps": "many"}, "unet.steps is 'many'"),
        ({"unet.learning_rate": 0}, "unet.learning_rate is 0"),
        ({"text_encoder.learning_rate": float("nan")}, "text_encoder.learning_rate is nan"),
        ({"text_encoder.unet": "melted"}, "not one of frozen, joint"),
        ({"schedule": "random"}, "schedule is 'random'"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"family": "sd9"}, "family is 'sd9', not one of tiny, sd15"),
        ({"resolution_px": 1024}, "resolution_px is 1024, not 256 to 768"),
        ({"caption_template": "a photo"}, "has no {identifier}"),
        ({"prior.images": 10, "class_word": ""}, "class_word is empty"),
        ({"prior.prompts": [3]}, "prior.prompts is (3,)"),
        ({"offset_noise": 2.0}, "offset_noise is 2.0"),
        ({"seed": -1}, "seed is -1"),
        ({"max_grad_norm": -1.0}, "max_grad_norm is -1.0"),
        ({"save.every_steps": 0}, "save.every_steps is 0"),
    ],
)
def test_a_bad_value_is_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        GOOD.changed(**settings).checked()
    assert said in str(caught.value)


def test_an_unknown_setting_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="learning_rat") as caught:
        GOOD.changed(unet__learning_rat=1e-6)
    assert "did you mean 'unet.learning_rate'?" in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "\xff\xfe"])
def test_a_damaged_recipe_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(RecipeError, match=r"recipe\.json"):
        load_recipe(path)


def test_identity_ignores_only_what_cannot_change_the_weights() -> None:
    assert GOOD.changed(save__every_steps=9, samples__every_steps=5).fingerprint() == GOOD.fingerprint()
    for change in ({"seed": 1}, {"unet.steps": 2}, {"prior.weight": 0.5}, {"identifier": "mafka4"}):
        assert GOOD.changed(**change).fingerprint() != GOOD.fingerprint()


def test_prompts_keep_digits_and_fill_places() -> None:
    recipe = GOOD.changed(identifier="mafka4")
    assert recipe.prompt() == "photo of mafka4 dog"
    assert recipe.class_prompt == "photo of dog"


def test_presets_meet_the_original_at_fifteen_photos() -> None:
    fifteen = settings_for("an object", 15)
    assert (fifteen["text_encoder.steps"], fifteen["unet.steps"]) == (350, 1500)
    assert all(fifteen[name] == GOOD.value(name) for name in fifteen)
    assert settings_for("an object", 1)["unet.steps"] == 500
    assert settings_for("an object", 100)["lora.steps"] == 3000


def test_a_preset_follows_the_photos_and_leaves_what_was_set_by_hand() -> None:
    ten = with_preset(GOOD, "an object", 0, 10)
    assert (ten.unet.steps, ten.text_encoder.steps, ten.lora.steps) == (1000, 233, 1000)
    assert with_preset(GOOD.changed(unet__steps=500), "an object", 0, 10).unet.steps == 500
    face = with_preset(ten.changed(unet__steps=777), "a face", 10, 12)
    assert (face.preset, face.unet.steps, face.text_encoder.steps) == ("a face", 777, 420)
    assert (face.lora.rank, face.unet.learning_rate) == (32, 2e-6)
    style = with_preset(face, "a style", 12, 20)
    assert (style.unet.steps, style.text_encoder.steps, style.unet.learning_rate) == (777, 180, 1e-6)
    assert GOOD.changed(preset="a style").fingerprint() == GOOD.fingerprint()
    assert "preset is 'a car'" in GOOD.changed(preset="a car").faults()[0]
