"""Several concepts in one session: folders in kohya's layout, their prompts and repeats, and training on them."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fsd import pipeline, sharing
from fsd.data.captions import prompt_table, prompt_table_text, write_captions
from fsd.data.concept import Concept, class_prompts, concept_named, numbered_folder, photos_of, recipes_of
from fsd.data.dataset import class_photos, held_out_photos, inputs_fingerprint, training_photos
from fsd.data.describe import in_lines
from fsd.data.photos import add_photos
from fsd.data.session import Session, create, describe, open_session
from fsd.errors import Interrupted, RecipeError, SessionError
from fsd.generate.class_images import make_class_images
from fsd.needs import need_photos
from fsd.recipe import Recipe
from fsd.runtime.files import sha256
from fsd.train import prepare, prompts

CAT, DOG = "10_zwx cat", "3_mafka4 small dog"


def photo(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (120, 80), (50 * number % 256, 90, 200))
    image.paste((20, 20 * number % 256, 10), (7 * number % 60, 10, 7 * number % 60 + 40, 60))
    image.save(path)


@pytest.fixture
def kohya(tmp_path: Path) -> Path:
    """A data set in kohya's layout, two of whose photos have one name, and a photo beside its folders."""
    folder = tmp_path / "img"
    for number, name in enumerate([f"{CAT}/1.png", f"{CAT}/2.png", f"{DOG}/1.png", f"{DOG}/3.png", "loose.png"]):
        photo(folder / name, number)
    (folder / CAT / "1.txt").write_text("zwx cat, asleep")
    (folder / DOG / "1.txt").write_text("a portrait of {identifier}, a {class}")
    return folder


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = create(tmp_path, "s")
    made.save_recipe(Recipe(family="tiny", resolution_px=64, class_word="cup"))
    return made


@pytest.fixture
def filled(session: Session, kohya: Path) -> Session:
    add_photos(session, kohya)
    return session


@pytest.mark.parametrize(
    ("name", "concept"),
    [
        (CAT, Concept("zwx", "cat", 10)),
        (DOG, Concept("mafka4", "small dog", 3)),
        ("zwx cat", Concept("zwx", "cat")),
        ("010_ zwx   cat ", Concept("zwx", "cat", 10)),
        ("5_zwx", Concept("zwx", "", 5)),
        ("2_zwx_cat", Concept("zwx_cat", "", 2)),
        ("20 cats", Concept("20", "cats")),
    ],
)
def test_a_folder_says_what_its_photos_show(name: str, concept: Concept) -> None:
    assert concept_named(name) == concept
    assert concept_named(concept.folder) == concept


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("10", "'10' says nothing"), ("10_", "'10_' says nothing"), ("  ", "says nothing"),
        ("0_zwx cat", "0 repeats, not 1 to 1000"), ("1001_zwx cat", "1001 repeats"), ("9" * 200 + "_x", "repeats"),
        ("a/b", "cannot be the name"), ("..", "cannot be the name"), ("10_zwx\ncat", "cannot be the name"),
        ("x" * 300, "cannot be the name"),
    ],
)  # fmt: skip
def test_a_name_that_says_nothing_is_one_clear_error(session: Session, kohya: Path, name: str, told: str) -> None:
    with pytest.raises(SessionError, match=told) as caught:
        add_photos(session, kohya, concept=name)
    assert "10_zwx cat" in caught.value.hint
    assert photos_of(session.instance_images) == []


def test_photos_come_with_their_concept(filled: Session) -> None:
    found = {one.path.name: (one.path.parent.name, one.prompt, one.repeats) for one in training_photos(filled)}
    assert found == {
        "1.png": (CAT, "zwx cat, asleep", 10),
        "2.png": (CAT, "photo of zwx cat", 10),
        "1 (2).png": (DOG, "a portrait of mafka4, a small dog", 3),
        "3.png": (DOG, "photo of mafka4 small dog", 3),
        "loose.png": ("instance_images", "photo of sks cup", 1),
    }
    filled.save_recipe(filled.recipe().changed(caption_template="{class}: {identifier}"))
    assert [one.prompt for one in training_photos(filled)][2:] == ["cat: zwx", "small dog: mafka4", "cup: sks"]


def test_a_zip_and_an_upload_of_that_layout_do_the_same(filled: Session, kohya: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path, "img"))
    want = [(one.path.parent.name, one.prompt) for one in training_photos(filled)]
    for name, source in (("zip", archive), ("upload", {"data.zip": archive.read_bytes()})):
        other = create(tmp_path, name)
        other.save_recipe(filled.recipe())
        report = add_photos(other, source)
        assert report.concepts == {CAT: 2, DOG: 2}
        assert f"2 of them in {CAT}" in report.text()
        assert [(one.path.parent.name, one.prompt) for one in training_photos(other)] == want


def test_a_session_is_exported_and_imported_with_its_concepts(filled: Session, tmp_path: Path) -> None:
    want = [(one.path.parent.name, one.path.name, one.prompt) for one in training_photos(filled)]
    for place in ("out", "out.zip"):
        exported = sharing.export_session(filled, str(tmp_path / place))["path"]
        sharing.import_session(exported, f"from {place}", str(tmp_path / "other"))
        found = training_photos(open_session(tmp_path / "other", f"from {place}"))
        assert [(one.path.parent.name, one.path.name, one.prompt) for one in found] == want


def test_only_folders_with_their_number_are_concepts_elsewhere(session: Session, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "trip.zip", "w") as archive:
        for number, name in enumerate(["my cat/a.png", "2024_summer/b.png", "4_zwx cat/raw/c.png", "reg/1_cat/d.png"]):
            photo(tmp_path / "one.png", number)
            archive.write(tmp_path / "one.png", name)
    report = add_photos(session, tmp_path / "trip.zip")
    places = {path.name: path.parent.name for path in photos_of(session.instance_images)}
    assert places == {"a.png": "instance_images", "b.png": "instance_images", "c.png": "4_zwx cat"}
    assert report.skipped == [("d.png", "a class image in kohya's layout; put those into the session's class_images")]
    assert numbered_folder(["x", "010_zwx  cat", "y"]) == "10_zwx cat"
    assert numbered_folder(["zwx cat", "7_"]) == ""


def test_photos_are_put_into_a_concept(session: Session, kohya: Path, tmp_path: Path) -> None:
    add_photos(session, kohya / DOG, concept=CAT)
    assert {path.parent.name for path in photos_of(session.instance_images)} == {CAT}
    photo(tmp_path / "more.png", 9)
    add_photos(session, tmp_path / "more.png", concept="zwx cat")
    assert {path.parent.name for path in photos_of(session.instance_images)} == {CAT}
    again = add_photos(session, tmp_path / "more.png", concept="5_abc")
    assert f"as more.png, in {CAT}: move that file to have it in 5_abc" in again.text()
    assert {path.parent.name for path in photos_of(session.instance_images)} == {CAT}
    other = create(tmp_path, "own folder")
    add_photos(other, kohya / DOG)
    assert {path.parent.name for path in photos_of(other.instance_images)} == {DOG}


def test_held_out_photos_keep_their_concept(session: Session, kohya: Path) -> None:
    report = add_photos(session, kohya, hold_out=2)
    held = [(one.path.parent.name, one.path.name, one.prompt) for one in held_out_photos(session)]
    assert held == [(CAT, "2.png", "photo of zwx cat"), (DOG, "3.png", "photo of mafka4 small dog")]
    assert report.held_out == ["2.png", "3.png"]
    with pytest.raises(SessionError, match="would leave no photo of '3_mafka4 small dog'"):
        add_photos(session, kohya, hold_out=3)
    assert describe(session)["held_out"] == 2
    assert add_photos(session, kohya).text().startswith("0 photos added, 0 captions")


def test_what_was_put_there_by_hand_is_found(session: Session, kohya: Path) -> None:
    shutil.copytree(kohya / CAT, session.instance_images / "zwx cat")
    (session.instance_images / ".ipynb_checkpoints").mkdir()
    photo(session.instance_images / ".ipynb_checkpoints" / "1.png", 7)
    (session.instance_images / "10_").mkdir()  # without photos, no concept
    assert [one.prompt for one in training_photos(session)] == ["zwx cat, asleep", "photo of zwx cat"]
    assert describe(session)["captions"] == 1
    written = write_captions(session, "template")
    assert (written.written, written.kept) == (["2.png"], ["1.png"])
    photo(session.instance_images / "10_" / "9.png", 9)
    assert "'10_' says nothing" in describe(session)["state"]
    with pytest.raises(SessionError, match="'10_' says nothing"):
        pipeline.caption_photos(session)


def test_two_photos_of_one_name_are_refused(session: Session, kohya: Path) -> None:
    shutil.copytree(kohya, session.instance_images, dirs_exist_ok=True)
    with pytest.raises(SessionError, match=r"10_zwx cat/1.png and 3_mafka4 small dog/1.png in .* have one name"):
        training_photos(session)


def test_table_and_description_name_the_concept(filled: Session, micro_model: Path) -> None:
    (filled.captions / "3.txt").write_text("somebody else")
    rows = prompt_table(filled, micro_model / "tokenizer")
    assert [row.concept for row in rows] == [DOG, CAT, CAT, DOG, ""]
    assert rows[3].notes == ("the identifier 'mafka4' is not in this prompt",)
    assert "10_zwx cat          photo of zwx cat" in prompt_table_text(rows)
    assert "concept" not in prompt_table_text(rows[4:])
    facts = describe(filled)
    cat = {"folder": CAT, "identifier": "zwx", "class_word": "cat", "repeats": 10, "photos": 2}
    assert (facts["photos"], facts["concepts"][0]) == (5, cat)
    assert "3_mafka4 small dog: 2 photos of mafka4 small dog, 3 times an epoch" in in_lines(facts)


def test_the_fingerprint_knows_concepts_and_repeats(filled: Session) -> None:
    folder = filled.instance_images / CAT
    (filled.captions / "2.txt").write_text("a caption that says all")
    seen = [inputs_fingerprint(filled)]
    for name in ("11_zwx cat", "11_zwx tiger", "zwx tiger"):
        folder = folder.rename(folder.with_name(name))
        seen.append(inputs_fingerprint(filled))
    assert len(set(seen)) == 4
    folder.rename(folder.with_name("1_zwx tiger"))
    assert inputs_fingerprint(filled) == seen[-1]


def test_class_images_are_of_every_class_in_turn(filled: Session) -> None:
    def prompts(*own: str) -> list[str]:
        return class_prompts(recipes_of(filled, filled.recipe().changed(prior__images=4, prior__prompts=own)))

    assert prompts() == ["photo of cup", "photo of cat", "photo of small dog"]
    assert prompts("a {class}", "a tree") == ["a cup", "a cat", "a small dog", "a tree"]
    (filled.instance_images / "loose.png").unlink()
    assert prompts() == ["photo of cat", "photo of small dog"]
    (filled.instance_images / DOG).rename(filled.instance_images / "mafka4")
    assert prompts() == ["photo of cat"]


def test_an_own_class_image_must_say_which_class_it_shows(filled: Session) -> None:
    photo(filled.class_images / "own.png", 1)
    assert [one.prompt for one in class_photos(filled)] == ["photo of cup"]
    filled.save_recipe(filled.recipe().changed(prior__images=4))
    with pytest.raises(SessionError, match=r"own.png has no text that says which it shows: cat, cup, small dog"):
        training_photos(filled), class_photos(filled)
    (filled.class_images / "own.txt").write_text("photo of cat")
    assert [one.prompt for one in class_photos(filled)] == ["photo of cat"]


def test_a_session_of_concepts_alone_is_called_after_the_first(tmp_path: Path, kohya: Path) -> None:
    session = pipeline.open_session("s", str(tmp_path))
    (kohya / "loose.png").unlink()
    added = pipeline.add_photos(session, str(kohya), hold_out=1)
    assert session.recipe().prompt() == "photo of zwx cat"
    assert "are of the first concept: 'photo of zwx cat'" in added.text
    assert added["concepts"] == {CAT: 2, DOG: 2}
    need_photos(session)  # no caption of theirs is taken for one without a photo
    (session.instance_images / CAT / "gone.txt").write_text("zwx cat")
    with pytest.raises(SessionError, match=r"captions without a photo of their name: gone\.txt"):
        need_photos(session)
    photo(tmp_path / "more.png", 9)
    pipeline.add_photos(session, str(tmp_path / "more.png"), concept="7_abc")
    assert session.recipe().prompt() == "photo of zwx cat"
    assert describe(session)["concepts"][-1]["folder"] == "7_abc"


# --- training --------------------------------------------------------------------------------------------------------


def two_concepts(session: Session, tmp_path: Path) -> Session:
    """The micro session with its four photos and two concepts more, of one photo each."""
    photo(tmp_path / "two" / "3_zwx cat" / "cat.png", 21)
    photo(tmp_path / "two" / "2_mafka4 dog" / "dog.png", 22)
    (tmp_path / "two" / "2_mafka4 dog" / "dog.txt").write_text("{identifier}, asleep")
    add_photos(session, tmp_path / "two")
    return session


def test_an_epoch_shows_a_photo_as_often_as_its_repeats_say(micro_session: Session, tmp_path: Path) -> None:
    from fsd.train.batch import Batches
    from fsd.train.latents import Latents
    from fsd.train.material import material_of
    from fsd.train.noise import Diffusion

    session = two_concepts(micro_session, tmp_path)
    recipe, photos = session.recipe().changed(batch_size=3), training_photos(session)
    material = material_of(recipe, photos, [], photos)
    assert material.prompts == ["mafka4, asleep", "photo of sks cup", "photo of zwx cat"]
    assert (len(material.views), len(material.photos), len(material.checks)) == (12, 4 + 3 + 2, 6)
    latents = Latents(torch.randn(12, 4, 8, 8), torch.zeros(12, 4, 8, 8))
    batches = Batches(
        "unet", recipe, material.photos, [], latents, Diffusion(torch.linspace(0.99, 0.01, 1000), "epsilon")
    )
    for epoch in range(3):
        rows = [batch for step in range(3) for batch in batches.at(3 * epoch + step, torch.device("cpu"))]
        shown = Counter(material.prompts[prompt] for batch in rows for prompt in batch.prompts)
        assert shown == {"photo of sks cup": 4, "photo of zwx cat": 3, "mafka4, asleep": 2}


def test_two_concepts_train_by_their_prompts_and_go_on_with_the_same_bits(
    micro_session: Session, tmp_path: Path
) -> None:
    from runs import copy_of, stopping_at, train

    session = two_concepts(micro_session, tmp_path)
    session.save_recipe(session.recipe().changed(prior__images=3, text_encoder__steps=0, unet__steps=4))
    assert make_class_images(session)["made"] == 3
    drawn = [(session.class_images / f"000{number}.txt").read_text("utf-8") for number in range(3)]
    assert drawn == ["photo of cup", "photo of dog", "photo of cat"]
    stopped = copy_of(session, "stopped")
    trained = Counter[str]()
    real = prompts.encode_prompts

    def encode(said: Sequence[str], *rest: Any) -> Any:
        trained.update(said)
        return real(said, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "encode_prompts", encode)
        train(session, "unet")
    assert sorted(trained) == sorted([*drawn, "photo of sks cup", "photo of zwx cat", "mafka4, asleep"])
    with stopping_at(1), pytest.raises(Interrupted):
        train(stopped, "unet")
    assert train(stopped, "unet")["from_step"] == 2
    ended = [one.checkpoints / "unet-000004" / "unet" for one in (session, stopped)]
    one, other = ([sha256(file) for file in sorted(folder.iterdir())] for folder in ended)
    assert one == other
    (session.instance_images / "3_zwx cat").rename(session.instance_images / "4_zwx cat")
    session.save_recipe(session.recipe().changed(unet__steps=6))
    with pytest.raises(RecipeError, match="the photos and captions changed"):
        train(session, "unet")
