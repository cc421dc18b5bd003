"""A whole job from one file: done, gone on with, and refused with every fault before anything is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsd import job_file, job_orders, job_reading
from fsd.errors import FsdError
from fsd.recipe import load_recipe


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
        ({"settings": [1]}, "settings in"),
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
