"""A whole job from one file: done, gone on with, and refused with every fault before anything is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsd import job_file, job_orders, job_reading
from fsd.data import session as sessions
from fsd.data.session import Session
from fsd.errors import FsdError, RecipeError
from fsd.recipe import Recipe, load_recipe
from fsd.runtime.report import Result


def job(folder: Path, **values: Any) -> Path:
    path = folder / "recipe.json"
    path.write_text(json.dumps({"session": "cup", **values}))
    return path


def test_a_job_is_done_and_gone_on_with(
    tmp_path: Path, micro_model: Path, make_photos: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(3)
    values = {
        "photos": "photos", "base_model": str(micro_model), "family": "tiny", "resolution_px": 64, "root": ".",
        "identifier": "mafka4", "class_word": "cup", "captions": {"template": "a photo of {identifier} {class}"},
        "settings": {"unet": {"steps": 2}, "text_encoder.steps": 1, "samples.at_end": False},
    }  # fmt: skip
    path = job(tmp_path, **values)
    done = job_file.run(str(path))
    session = Path(done["session"])
    assert session == tmp_path / "Fast-Dreambooth" / "Sessions" / "cup"
    assert list(done["stages"]) == ["text_encoder", "unet", "save_ckpt"]
    recipe = load_recipe(session / "recipe.json")
    assert (recipe.unet.steps, recipe.text_encoder.steps, recipe.identifier) == (2, 1, "mafka4")
    assert Path(done["stages"]["save_ckpt"]["ckpt"]).is_file()
    assert "a photo of mafka4 cup" in capsys.readouterr().out

    path = job(tmp_path, **values, stages=["unet", "generate"], pictures={"prompts": ["{identifier}"], "steps": 1})
    again = job_file.run(str(path))
    said = capsys.readouterr().out
    assert "0 photos added" in said and "are done already" in said
    assert Path(again["stages"]["generate"]["grid"]).is_file()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sesion": "x"}, "did you mean 'session'?"),
        ({"settings": {"unet.stepps": 3}}, "did you mean"),
        ({"settings": {"unet": {"steps": "many"}}}, "unet.steps is 'many', not a whole number"),
        ({"settings": {"identifier": "sks"}}, "move it to the top of the file"),
        ({"settings": [1]}, "settings is [1], not an object of settings"),
        ({"stages": ["unett"], "hold_out": "2"}, "hold_out is '2', not a whole number; there is no stage 'unett'"),
        ({"captions": {"mod": "keep"}}, "did you mean 'captions.mode'?"),
        ({"family": "sd16"}, "there is no model family 'sd16'"),
        ({"session": ""}, "names no session"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    path = job(tmp_path, **values)
    with pytest.raises(FsdError) as caught:
        job_file.run(str(path))
    assert said in str(caught.value)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == [path]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    wrong = {
        "sesion": "x", "photos": "nowhere", "base_model": "tinny", "hold_out": -1, "stages": ["unit"],
        "captions": {"mode": "templat"}, "ckpt": {"format": "zip"}, "pictures": {"images": 0},
        "settings": {"unet.stepz": 3, "unet.steps": -3},
    }  # fmt: skip
    path = job(tmp_path, **wrong)
    with pytest.raises(FsdError) as caught:
        job_file.run(str(path))
    named = ("'sesion'", "nowhere", "'tinny' (did you mean tiny?", "hold_out is -1", "'unit'", "'templat'", "'zip'")
    for part in (*named, "pictures.images is 0", "did you mean 'unet.steps'?"):
        assert part in caught.value.message
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("tiny", {"unet": {"steps": -3}}, "unet.steps is -3"),
        ("sdxl", {}, "is not in this release"),
        ("tiny", {"prior.images": 5}, ""),  # the session may know the class word
    ],
)
def test_values_are_looked_at_before_anything_is_done(
    tmp_path: Path, family: str, settings: dict[str, Any], said: str
) -> None:
    path = job(tmp_path, base_model=family, settings=settings)
    if not said:
        assert job_reading.read_job(path).settings == settings
        return
    with pytest.raises(FsdError, match=said):
        job_reading.read_job(path)


def test_a_sessions_own_recipe_goes_on_with_the_session(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in (micro_session.recipe_path, micro_session.folder):
        read = job_reading.read_job(given)
        assert (read.session, read.settings, read.base_model) == (micro_session.name, {}, "")
        monkeypatch.chdir("/")
        assert sessions.open_session(read.root, read.session).folder == micro_session.folder


def test_a_recipe_alone_is_told_from_a_job(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(Recipe().to_json()))
    with pytest.raises(FsdError, match="it is a recipe alone") as caught:
        job_reading.read_job(tmp_path / "recipe.json")
    assert '"settings"' in caught.value.hint


def test_a_job_that_was_edited_in_the_middle(micro_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, the recipe stays what was trained, and the job can say that it goes on all the same."""
    forked: list[bool] = []

    def train(session: Session, fork: bool) -> Result:
        forked.append(fork)
        if not fork:
            raise RecipeError("unet.steps was 8, is 9", "set them back, use a new session, or fork to go on from it")
        return Result("trained")

    monkeypatch.setattr(job_file.pipeline, "train_unet", train)
    monkeypatch.setattr(job_file.pipeline, "caption_photos", lambda *_: Result("captions"))
    before, root = micro_session.recipe(), micro_session.folder.parents[2]
    values = {"session": micro_session.name, "root": ".", "settings": {"unet.steps": 9}, "stages": ["unet"]}
    with pytest.raises(FsdError, match=r"unet\.steps was 8") as caught:
        job_file.run(str(job(root, **values)))
    assert 'write "fork": true into the job' in caught.value.hint
    assert micro_session.recipe() == before
    job_file.run(str(job(root, **values, fork=True)))
    assert forked == [False, True]
    assert micro_session.recipe().unet.steps == 9


@pytest.mark.parametrize("content", ["{", "[]", "3", ""])
def test_what_is_no_job_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(FsdError, match=r"recipe\.json"):
        job_reading.read_job(tmp_path / "recipe.json")


def test_no_file_shows_an_example(tmp_path: Path) -> None:
    with pytest.raises(FsdError) as caught:
        job_reading.read_job(tmp_path / "none.json")
    example = caught.value.hint.partition("such as ")[2]
    assert job_orders.STAGES and json.loads(example)["session"] == "cup"
