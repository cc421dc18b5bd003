"""A whole job from one file: done, gone on with, and refused with every fault before anything is touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fsd import job_file, job_orders, job_reading, pictures
from fsd.data import session as sessions
from fsd.data.session import Session
from fsd.errors import FsdError, MachineError, RecipeError
from fsd.recipe import Recipe, load_recipe
from fsd.runtime import files, space
from fsd.runtime.report import Result


def job(folder: Path, **values: Any) -> Path:
    path = folder / "recipe.json"
    path.write_text(json.dumps({"session": "cup", **values}))
    return path


def test_a_job_is_done_and_gone_on_with(
    tmp_path: Path,
    micro_model: Path,
    make_photos: Callable[[int], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
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
    said = capsys.readouterr().out
    assert "a photo of mafka4 cup" in said and "note: no" not in said

    path = job(tmp_path, **values, stages=["unet", "generate"], pictures={"prompts": ["{identifier}"], "steps": 1})
    again = job_file.run(str(path))
    said = capsys.readouterr().out
    assert "0 photos added, 0 captions; 3 photos were there already" in said and "skipped" not in said
    assert "nothing has changed since: unet\n" in said
    grid = Path(again["stages"]["generate"]["grid"])

    started: list[str] = []
    monkeypatch.setattr(
        pictures, "run_stage", lambda module, *_, **__: started.append(module) or {"images": [], "grid": "x"}
    )
    assert job_file.run(str(path))["stages"] == again["stages"]
    assert f"nothing has changed since: unet, generate ({grid})\n" in capsys.readouterr().out
    assert not started
    grid.unlink()
    job_file.run(str(path))
    assert started == ["fsd.generate.sample"]


def test_a_job_makes_a_lora(
    tmp_path: Path, micro_model: Path, make_photos: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(3)
    values = {
        "photos": "photos", "base_model": str(micro_model), "family": "tiny", "resolution_px": 64, "root": ".",
        "class_word": "cup", "preset": "a face", "settings": {"lora.steps": 2, "samples.at_end": False},
    }  # fmt: skip
    path = job(tmp_path, **values, stages=["lora", "save_lora"])
    done = job_file.run(str(path))
    session = Path(done["session"])
    recipe = load_recipe(session / "recipe.json")
    assert (recipe.method, recipe.preset, recipe.lora.steps, recipe.lora.rank) == ("lora", "a face", 2, 32)
    saved = done["stages"]["save_lora"]
    assert saved["lora"] == str(session / "loras" / "cup.safetensors")
    assert saved["sha256"] == files.sha256(Path(saved["lora"]))
    capsys.readouterr()
    assert job_file.run(str(session))["stages"] == done["stages"], "the session's own recipe is the same job"
    assert f"nothing has changed since: lora, save_lora ({saved['lora']})" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "stages"),
    [
        ({"base_model": "flux-dev"}, ("lora", "save_lora")),
        ({"base_model": "sd15", "settings": {"method": "lora"}}, ("lora", "save_lora")),
        ({"base_model": "sd15"}, ("text_encoder", "unet", "save_ckpt")),
        ({"base_model": "sd15", "stages": []}, ()),
    ],
)
def test_without_stages_they_are_the_methods(
    tmp_path: Path, make_photos: Callable[[int], Path], values: dict[str, Any], stages: tuple[str, ...]
) -> None:
    make_photos(1)
    assert job_reading.read_job(job(tmp_path, photos="photos", **values)).stages == stages


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
        ({"stages": ["unet", "text_encoder"]}, "can only follow as text_encoder, unet"),
        ({"stages": ["unet", "unet"]}, "the stage unet is named 2 times"),
        ({"stages": ["text_encoder", "unet", "score"]}, "score needs photos that training never saw"),
        ({"stages": ["unet"]}, "the stage unet needs the stage text_encoder before it"),
        ({"stages": ["save_ckpt"]}, "the stage save_ckpt needs a trained model"),
        ({"stages": ["save_lora"]}, "the stage save_lora needs a trained model: name lora before it"),
        ({"stages": ["text_encoder", "lora"]}, "the stages are text_encoder (method full) and lora (method lora)"),
        ({"stages": ["lora", "save_ckpt"]}, "the stages are save_ckpt (method full) and lora (method lora)"),
        ({"settings": {"method": "full"}, "stages": ["lora"]}, "but lora are stages of method lora"),
        ({"preset": "a cat"}, "preset is 'a cat', not one of an object, a face, a style"),
        ({"pictures": {"steps": -1, "seed": -2}}, "pictures.seed is -2, not 0 to 2^63-1; pictures.steps is -1, not 1"),
        ({}, "has no photos yet, and the job names none"),
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
        "photos": "nowhere", "base_model": "tinny", "hold_out": -1, "stages": ["unit"],
        "captions": {"mode": "templat"}, "ckpt": {"format": "zip"}, "pictures": {"images": 0, "steps": "few"},
        "settings": {"unet.stepz": 3, "unet.steps": -3, "batch_size": "big", "prior.weight": -1},
    }  # fmt: skip
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"sesion": "x", **wrong}))
    with pytest.raises(FsdError) as caught:
        job_file.run(str(path))
    named = (
        "it names no session",
        "'sesion'",
        "nowhere",
        "'tinny' (did you mean tiny?",
        "hold_out is -1",
        "'unit'",
        "'templat'",
        "'zip'",
    )
    settings = ("did you mean 'unet.steps'?", "unet.steps is -3", "batch_size is 'big'", "prior.weight is -1")
    for part in (*named, "pictures.images is 0", "pictures.steps is 'few'", "did you mean 'session'?", *settings):
        assert part in caught.value.message
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("tiny", {"unet": {"steps": -3}}, "unet.steps is -3"),
        ("sd15-inpainting", {}, "is impossible: it is for making pictures only"),
        ("flux-dev", {"method": "full"}, "full DreamBooth of FLUX.1 \\[dev\\] is impossible"),
        ("tiny", {"prior.images": 5}, "prior.images is set but class_word is empty"),
    ],
)
def test_values_are_looked_at_before_anything_is_done(
    tmp_path: Path, family: str, settings: dict[str, Any], said: str
) -> None:
    path = job(tmp_path, base_model=family, settings=settings)
    with pytest.raises(FsdError, match=said):
        job_reading.read_job(path)


def test_what_the_session_knows_is_taken_from_it(micro_session: Session) -> None:
    path = job(micro_session.folder.parents[2], root=".", settings={"prior.images": 5})
    assert job_reading.read_job(path).settings == {"prior.images": 5}


@pytest.mark.parametrize(
    ("photos", "hold_out", "said"),
    [(0, 0, "there are no photos in"), (3, 3, "there are only 3 photos"), (None, 0, "there is no file or folder")],
)
def test_photos_are_counted_before_anything_is_done(
    tmp_path: Path, make_photos: Callable[[int], Path], photos: int | None, hold_out: int, said: str
) -> None:
    if photos is not None:
        (make_photos(photos) / "notes.txt").write_text("no photo")
        shutil.copy(tmp_path / "photos" / "IMG_0000.png", tmp_path / "photos" / "again.png") if photos else None
    before = sorted(tmp_path.rglob("*"))
    path = job(tmp_path, photos="photos", hold_out=hold_out, base_model="tiny")
    with pytest.raises(FsdError, match=said):
        job_file.run(str(path))
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


def test_too_little_room_is_told_before_anything_is_made(
    tmp_path: Path, micro_model: Path, make_photos: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(3)
    values = {"photos": "photos", "base_model": str(micro_model), "family": "tiny", "resolution_px": 64, "root": "."}
    path = job(tmp_path, **values, class_word="cup", settings={"prior.images": 9})
    monkeypatch.setattr(space.shutil, "disk_usage", lambda place: SimpleNamespace(free=1000, total=10**12))
    with pytest.raises(MachineError, match="will be needed on the disk") as caught:
        job_file.run(str(path))
    for part in ("photos", "9 class images", "checkpoints of the text encoder", "checkpoints of the unet", "the CKPT"):
        assert part in caught.value.message
    assert sorted(place.name for place in tmp_path.iterdir()) == ["photos", "recipe.json"]


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
    monkeypatch.setattr(job_file.pipeline, "caption_photos", lambda *_, **__: Result("captions"))
    before, root = micro_session.recipe(), micro_session.folder.parents[2]
    settings = {"unet.steps": 9, "text_encoder.steps": 0}
    values = {"session": micro_session.name, "root": ".", "settings": settings, "stages": ["unet"]}
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
