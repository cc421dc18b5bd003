"""The main line by its verbs: photos to CKPT to pictures, twice over safe, and too early said so."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from subjects import train_a_little

from fsd import pictures, pipeline, sharing, stage, upkeep
from fsd.data.dataset import training_photos
from fsd.data.session import Session, describe
from fsd.errors import FsdError, SessionError
from fsd.runtime.files import TEMPORARY_MARK, sha256
from fsd.runtime.spool import deliver
from fsd.runtime.spool.local_first import FSD_LOCAL, working


@pytest.fixture
def session(tmp_path: Path, micro_model: Path) -> Session:
    opened = pipeline.open_session("cup", str(tmp_path))
    pipeline.choose_base_model(opened, str(micro_model), family="tiny")
    return opened


NOTES_AT_ITS_END = """
import atexit, sys
heavy = ("peft", "bitsandbytes")
note = lambda: print(sys.argv[0], *filter(sys.modules.get, heavy), file=open({path!r}, "a"))
atexit.register(note)
"""


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A function that tells of each child that has ended its module and which of some heavy packages it had loaded."""
    notes = tmp_path / "loaded"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOTES_AT_ITS_END.format(path=str(notes)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    return lambda: notes.read_text().splitlines()


def test_photos_become_a_ckpt_and_pictures(
    session: Session, make_photos: Callable[[int], Path], loaded: Callable[[], list[str]]
) -> None:
    added = pipeline.add_photos(session, str(make_photos(6)), identifier="mafka4", class_word="cup", hold_out=2)
    assert (len(added["added"]), len(added["held_out"])) == (6, 2)
    assert added.picture is not None
    assert added.picture.exists()
    upkeep.change_settings(
        session, "resolution_px=64", "batch_size=2", "prior.images=3", 'prior.prompts=["a cat", "a {class}"]',
        "save.every_steps=2", "samples.every_steps=2", "text_encoder.learning_rate=1e-3", "unet.learning_rate=1e-3",
    )  # fmt: skip
    prompts = pipeline.caption_photos(session)["prompts"]
    assert [row["prompt"] for row in prompts] == ["photo of mafka4 cup"] * 4
    first = pipeline.train_text_encoder(session, steps=2)
    assert loaded() == ["fsd.generate.sample", "fsd.generate.sample", "fsd.train.text_encoder"]
    assert pipeline.train_text_encoder(session)["from_step"] == 2
    assert len(loaded()) == 3  # as there was nothing to do
    upkeep.change_settings(session, "optimizer=adamw8bit")
    second = pipeline.train_unet(session, steps=4)
    assert loaded()[-1] == "fsd.train.unet bitsandbytes"
    assert (first["steps"], second["steps"], second["from_step"]) == (2, 4, 0)
    assert len(list(session.class_images.glob("*.png"))) == 3
    assert (session.samples / "unet-000004" / "grid.png").exists()
    assert (session.logs / "loss.png").read_bytes().startswith(b"\x89PNG")
    saved = pipeline.save_ckpt(session)
    assert saved["ckpt"] == str(session.folder / "cup.safetensors")
    assert saved["sha256"] == sha256(Path(saved["ckpt"]))
    made = pictures.generate(session, "{identifier} {class} on the moon", images=2, steps=2)
    assert len(made["images"]) == 2
    assert Path(made["grid"]).exists()
    assert describe(session)["next"] == "generate"
    for verb in (pipeline.train_unet, pipeline.save_ckpt):
        assert verb(session)
    assert sha256(Path(saved["ckpt"])) == saved["sha256"]
    assert pipeline.add_photos(session, str(make_photos(6)))["added"] == []
    listed = upkeep.clean_session(session)
    assert {row["kind"] for row in listed["removable"]} >= {"cache"} and listed["freed_bytes"] == 0
    assert "latents, made again by the next training" in listed.text
    freed = upkeep.clean_session(session, "all")
    assert upkeep.clean_session(session, "all").text == "nothing to free"
    assert upkeep.clean_session(session).text == "nothing can go"
    assert freed["freed_bytes"] > 0
    assert sorted(folder.name for folder in session.checkpoints.iterdir()) == ["text_encoder-000002", "unet-000004"]
    json.dumps([added, first, second, saved, made, freed])


@pytest.mark.parametrize(
    ("verb", "first"),
    [
        (pipeline.caption_photos, "add_photos"),
        (pipeline.train_text_encoder, "add_photos"),
        (pipeline.train_unet, "add_photos"),
        (pipeline.save_ckpt, "train_unet"),
        (pictures.score, "train_unet"),
        (upkeep.plot_loss, "train_unet"),
    ],
)
def test_too_early_says_what_to_run_first(session: Session, verb: Callable[[Session], object], first: str) -> None:
    with pytest.raises(SessionError) as caught:
        verb(session)
    assert f"run {first} first" in caught.value.hint


def test_steps_follow_the_number_of_photos_until_the_user_sets_them(
    session: Session, make_photos: Callable[[int], Path]
) -> None:
    pipeline.add_photos(session, str(make_photos(6)))
    assert session.recipe().unet.steps == 600
    pipeline.add_photos(session, str(make_photos(8)))
    assert session.recipe().unet.steps == 800
    upkeep.change_settings(session, "unet.steps=55")
    pipeline.add_photos(session, str(make_photos(9)))
    assert session.recipe().unet.steps == 55


def test_words_are_missed_early_and_may_come_later(
    session: Session, make_photos: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missed = "note: no identifier and no class word yet, so prompts say 'photo of sks'"
    pipeline.open_session("new", str(tmp_path))
    assert missed in capsys.readouterr().out
    assert missed in pipeline.choose_base_model(session, session.recipe().base_model, "tiny").text
    assert missed in pipeline.add_photos(session, str(make_photos(2))).text
    assert pipeline.caption_photos(session, "template")["prompts"][0]["prompt"] == "photo of sks"
    pipeline.open_session("cup", str(tmp_path))
    assert missed in capsys.readouterr().out
    assert "no class word yet, so prompts say 'photo of mafka4'" in pipeline.add_photos(session, "", "mafka4").text
    named = pipeline.add_photos(session, class_word="dog")
    assert (named["added"], "note: no" in named.text) == ([], False)
    assert "photo of mafka4 dog\n" in (session.logs / "prompts.txt").read_text()
    assert [row.prompt for row in training_photos(session)] == ["photo of mafka4 dog"] * 2


def test_words_that_something_is_trained_with_stay(session: Session, make_photos: Callable[[int], Path]) -> None:
    pipeline.add_photos(session, str(make_photos(2)), "mafka4", "dog")
    trained = session.checkpoints / "unet-000002"
    trained.mkdir()
    (trained / "checkpoint.json").write_text('{"stage": "unet", "step": 2, "done": true}')
    for photos in ("", str(make_photos(4))):
        with pytest.raises(SessionError, match="its subject called 'mafka4 dog'") as caught:
            pipeline.add_photos(session, photos, "mafka4", "cat")
        assert str(session.instance_images) in caught.value.hint
    assert (session.recipe().class_word, describe(session)["photos"]) == ("dog", 2)
    assert len(pipeline.add_photos(session, str(make_photos(4)), "mafka4", "dog")["added"]) == 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: pipeline.choose_base_model(s, "sd99"), "'sd99'"),
        (lambda s: pipeline.choose_base_model(s, "/nowhere/at/all"), "/nowhere/at/all"),
        (lambda s: pipeline.add_photos(s, "/nowhere/at/all"), "/nowhere/at/all"),
        (lambda s: pipeline.add_photos(s), "no photos were named"),
        (lambda s: upkeep.change_settings(s, "unet.step=3"), "'unet.step'"),
        (lambda s: upkeep.change_settings(s, "unet.steps"), "unet.steps"),
        (lambda s: upkeep.change_settings(s, "precision=fp8"), "'fp8'"),
        (lambda s: upkeep.crop_photo(s, "no.png", 0, 0, 64), "no.png"),
        (lambda s: sharing.import_session("/nowhere.zip", root=str(s.folder.parents[2])), "/nowhere.zip"),
        (lambda s: pipeline.open_session("../up", str(s.folder.parents[2])), "../up"),
    ],
)
def test_bad_input_is_one_clear_error(session: Session, call: Callable[[Session], object], said: str) -> None:
    with pytest.raises(FsdError) as caught:
        call(session)
    assert said in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: pipeline.save_ckpt(s, format="onnx"), "'onnx'"),
        (lambda s: pipeline.save_ckpt(s, dtype="int4"), "'int4'"),
        (lambda s: pipeline.save_ckpt(s, step="unet-999999"), "unet-999999"),
        (lambda s: pipeline.caption_photos(s, mode="poem"), "'poem'"),
        (lambda s: pipeline.train_unet(s, steps=-3), "unet.steps is -3"),
    ],
)
def test_bad_choices_after_training(micro_session: Session, call: Callable[[Session], object], said: str) -> None:
    train_a_little(micro_session)
    with pytest.raises(FsdError) as caught:
        call(micro_session)
    assert said in str(caught.value)
    assert not micro_session.ckpt_files()


def test_class_images_that_are_there_cost_no_process(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch, make_photos: Callable[[int], Path]
) -> None:
    asked: list[str] = []
    done = {"steps": 8, "loss": None}
    monkeypatch.setattr(stage, "run_stage", lambda module, *_: asked.append(module) or done)
    micro_session.save_recipe(micro_session.recipe().changed(prior__images=2, text_encoder__steps=0))
    pipeline.train_unet(micro_session)
    assert asked == ["fsd.generate.sample", "fsd.train.unet"]
    for photo in make_photos(2).iterdir():
        photo.rename(micro_session.class_images / photo.name)
    pipeline.train_unet(micro_session)
    assert asked[2:] == ["fsd.train.unet"]


def test_listing_exporting_and_removing(session: Session, tmp_path: Path) -> None:
    assert [row["name"] for row in upkeep.list_sessions(str(tmp_path))["sessions"]] == ["cup"]
    exported = sharing.export_session(session, str(tmp_path / "cup.zip"))
    removed = upkeep.remove_session(session)
    assert Path(removed["bin"]).is_dir()
    assert upkeep.list_sessions(str(tmp_path))["sessions"] == []
    assert sharing.import_session(exported["path"], root=str(tmp_path))["name"] == "cup"


def test_what_a_cut_save_left_goes_but_nothing_that_the_spool_is_writing(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FSD_LOCAL, str(tmp_path / "local"))
    (session.checkpoints / "unet-000002").mkdir()
    cut, heartbeat = (place / f".a{TEMPORARY_MARK}1" for place in (working(session.folder), session.folder))
    cut.parent.mkdir(parents=True)
    cut.touch()
    heartbeat.touch()
    assert Path(pipeline.save_ckpt(session, step="base")["ckpt"]).is_file()
    assert (cut.exists(), heartbeat.exists()) == (False, True)


def test_a_ckpt_that_drive_does_not_take_is_named_where_it_is(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv(FSD_LOCAL, str(tmp_path / "local"))
    (session.checkpoints / "unet-000002").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(deliver, "_copy", full)
        assert (
            Path(pipeline.save_ckpt(session, step="base")["ckpt"]) == working(session.folder) / "cup-base.safetensors"
        )
    exported = Path(sharing.export_session(session, str(tmp_path / "out"))["path"])  # which brings it first
    assert (exported / "cup-base.safetensors").is_file()
    assert Path(pipeline.save_ckpt(session, step="base")["ckpt"]) == session.folder / "cup-base.safetensors"
