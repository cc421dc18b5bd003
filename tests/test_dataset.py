"""The data set: order, prompts and squares; and a fingerprint that changes with everything that training reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fsd.data.crop import set_box
from fsd.data.dataset import class_photos, held_out_photos, inputs_fingerprint, training_photos
from fsd.data.photos import add_photos
from fsd.data.session import Session, create
from fsd.errors import SessionError
from fsd.recipe import Recipe


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = create(tmp_path, "s")
    made.save_recipe(Recipe(family="tiny", resolution_px=64, class_word="dog"))
    source = tmp_path / "in"
    source.mkdir()
    for number in range(4):
        image = Image.new("RGB", (120, 80), (60 * number, 20, 90))
        image.paste((255, 255, 255), (10 * number, 10, 10 * number + 25, 60))
        image.save(source / f"{3 - number}.png")
    (source / "0.txt").write_text("{identifier} runs")
    add_photos(made, source, hold_out=1)
    return made


def test_photos_come_sorted_with_square_and_prompt(session: Session) -> None:
    photos = training_photos(session)
    assert [photo.path.name for photo in photos] == ["0.png", "1.png", "3.png"]
    assert [photo.prompt for photo in photos] == ["sks runs", "photo of sks dog", "photo of sks dog"]
    assert all(photo.box[2] == 80 for photo in photos)
    assert [photo.path.name for photo in held_out_photos(session)] == ["2.png"]
    assert training_photos(session) == photos


def test_class_images_have_centred_squares_and_their_prompts(session: Session) -> None:
    assert class_photos(session) == []
    Image.new("RGB", (90, 60)).save(session.class_images / "b.png")
    Image.new("RGB", (60, 60)).save(session.class_images / "a.png")
    (session.class_images / "a.txt").write_text("a dog at night\n")
    found = [(photo.path.name, photo.box, photo.prompt) for photo in class_photos(session)]
    assert found == [("a.png", (0, 0, 60), "a dog at night"), ("b.png", (15, 0, 60), "photo of dog")]


def test_no_photos_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="'empty' has no photos") as caught:
        training_photos(create(tmp_path, "empty"))
    assert "add photos" in caught.value.hint


def test_a_photo_damaged_later_is_named(session: Session) -> None:
    (session.instance_images / "1.png").write_bytes(b"gone")
    with pytest.raises(SessionError, match=r"1\.png"):
        training_photos(session)


def test_the_fingerprint_knows_everything_that_training_reads(session: Session) -> None:
    seen = [inputs_fingerprint(session)]
    assert inputs_fingerprint(session) == seen[0]
    (session.samples / "a.png").write_bytes(b"x")
    Image.new("RGB", (60, 60)).save(session.class_images / "a.png")
    assert inputs_fingerprint(session) == seen[0]

    def changed() -> bool:
        seen.append(inputs_fingerprint(session))
        return len(set(seen)) == len(seen)

    set_box(session, "0.png", 1, 2, 60)
    assert changed()
    (session.captions / "1.txt").write_text("another prompt")
    assert changed()
    session.save_recipe(session.recipe().changed(identifier="zwx"))
    assert changed()
    session.save_recipe(session.recipe().changed(prior__images=1))
    assert changed()
    with (session.instance_images / "0.png").open("ab") as stream:
        stream.write(b" ")
    assert changed()
    (session.instance_images / "3.png").unlink()
    assert changed()
