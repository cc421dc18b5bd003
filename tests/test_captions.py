"""Captions: the rules of the prompt, odd files, file names, and the table of tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fsd import pictures, pipeline
from fsd.data.captions import prompt_table, prompt_table_text, write_captions
from fsd.data.names import file_words, identifier_in
from fsd.data.prompt import MAX_CAPTION_BYTES, prompt_of, read_caption
from fsd.data.session import Session, create, describe
from fsd.errors import RecipeError, SessionError, WeightsError
from fsd.recipe import Recipe


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = create(tmp_path, "s")
    made.save_recipe(Recipe(family="tiny", resolution_px=64, identifier="mafka4", class_word="dog"))
    for number, name in enumerate(["mafka4 (1).png", "mafka4_in-snow (2).png", "plain.png"]):
        Image.new("RGB", (64, 64), (number * 40, 9, 9)).save(made.instance_images / name)
    return made


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that takes each word for a token and, as CLIP's, cuts at 77 if it is let."""
    words = ["photo", "of", "mafka4", "dog", "in", "snow", "the", "a", "on", "grass", "sitting"]
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.enable_truncation(77)
    tokenizer.enable_padding(length=77)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


WORDS = {
    "githubuser01946 (2).png": "githubuser01946",
    "mafka4.jpg": "mafka4",
    "sks_dog-on_grass (12).JPG": "sks dog on grass",
    "犬(3).webp": "犬",
    "v1.5 test.png": "v1.5 test",
    "a (blue) one (4).png": "a blue one",
    "(7).png": "",
}


@pytest.mark.parametrize("name", WORDS)
def test_file_names_keep_their_digits(name: str) -> None:
    assert file_words(name) == WORDS[name]


def test_the_identifier_of_file_names() -> None:
    assert identifier_in(["mafka4 (1).jpg", "mafka4 (2).jpg"]) == "mafka4"
    assert identifier_in(["a.jpg", "b.jpg"]) == identifier_in([]) == ""


def test_the_rules_of_the_prompt(session: Session) -> None:
    assert prompt_of(session, session.instance_images / "plain.png").text == "photo of mafka4 dog"
    assert (
        prompt_of(session, session.instance_images / "mafka4_in-snow (2).png", mode="file name").text
        == "mafka4 in snow"
    )
    assert prompt_of(session, session.instance_images / "(1).png", mode="file name").text == "photo of mafka4 dog"
    (session.captions / "plain.txt").write_text("{identifier} the {class},\n sitting\r\n")
    found = prompt_of(session, session.instance_images / "plain.png", mode="file name")
    assert (found.text, found.source) == ("mafka4 the dog, sitting", "caption")
    (session.captions / "plain.txt").write_text(" \n")
    found = prompt_of(session, session.instance_images / "plain.png")
    assert (found.text, found.source) == ("photo of mafka4 dog", "template")
    assert "empty" in found.notes[0]


ODD = {
    "UTF-8 with BOM": ("\ufeffStraße 犬".encode(), "Straße 犬", 0),
    "UTF-16": ("Straße 犬".encode("utf-16"), "Straße 犬", 0),
    "UTF-16 big": ("\ufeffStraße".encode("utf-16-be"), "Straße", 0),
    "UTF-16 without BOM": ("a photo of sks".encode("utf-16-le"), "a photo of sks", 0),
    "Latin-1": ("Straße".encode("latin-1"), "Straße", 1),
    "control": (b"a\x00b \x1b[31mred\x07", "a b [31mred", 1),
    "lines": (b"one\r\ntwo\n\n three\t", "one two three", 0),
    "emoji": ("a 👩‍🚀 smiles".encode(), "a 👩‍🚀 smiles", 0),
    "nothing": (b"", "", 0),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_caption_files(kind: str) -> None:
    content, text, notes = ODD[kind]
    found = read_caption(content, "a.txt")
    assert (found[0], len(found[1])) == (text, notes)
    assert all("a.txt" in note for note in found[1])


def test_a_caption_that_is_none(session: Session, tokenizer_folder: Path) -> None:
    (session.captions / "plain.txt").write_bytes(b"x" * (MAX_CAPTION_BYTES + 1))
    with pytest.raises(SessionError, match=r"plain\.txt has 20001 bytes"):
        prompt_table(session, tokenizer_folder)


def texts(session: Session) -> list[str]:
    return [path.read_text() for path in sorted(session.captions.iterdir())]


def test_write_captions_by_template(session: Session) -> None:
    (session.captions / "plain.txt").write_text("by hand")
    report = write_captions(session)
    assert (report.written, report.kept) == (["mafka4 (1).png", "mafka4_in-snow (2).png"], ["plain.png"])
    assert (session.captions / "mafka4 (1).txt").read_text() == "photo of {identifier} {class}\n"
    session.save_recipe(session.recipe().changed(identifier="zwx9"))
    assert prompt_of(session, session.instance_images / "mafka4 (1).png").text == "photo of zwx9 dog"
    assert write_captions(session).written == []
    assert describe(session)["captions"] == 3


def test_another_mode_or_template_rewrites_what_nobody_edited(session: Session) -> None:
    assert write_captions(session, mode="file name").kept == []
    assert texts(session) == ["mafka4\n", "mafka4 in snow\n", "plain\n"]
    assert session.manifest()["prompts"] == "file name"
    assert prompt_of(session, session.instance_images / "mafka4 later.png").text == "mafka4 later"
    (session.captions / "plain.txt").write_text("by hand")
    done = write_captions(session, "template", "a  picture of {identifier}")
    assert (len(done.written), done.kept) == (2, ["plain.png"])
    assert done.text().startswith("2 captions written, 1 kept as they are; photos without one follow the template 'a ")
    done = write_captions(session, "template", "{identifier} at night")
    assert (len(done.written), done.kept) == (2, ["plain.png"])
    assert texts(session) == ["{identifier} at night\n", "{identifier} at night\n", "by hand"]
    assert session.recipe().caption_template == "{identifier} at night"
    assert write_captions(session, "template").written == []
    write_captions(session, "keep", "{identifier} by day")
    session.save_recipe(session.recipe().changed(caption_template="{identifier} at noon"))
    assert len(write_captions(session, "template").written) == 2
    assert texts(session) == ["{identifier} at noon\n", "{identifier} at noon\n", "by hand"]


def test_keep_writes_no_caption_and_says_what_the_rest_follow(session: Session) -> None:
    (session.captions / "plain.txt").write_text("photo of {identifier} {class}")
    session.session_path.write_text(json.dumps(session.manifest() | {"prompts": "file name"}))
    done = write_captions(session, "keep")
    assert done.text() == "0 captions written, 1 kept as they are; photos without one follow their file names"
    done = write_captions(session, "keep", "{identifier} at night")
    assert (done.written, done.kept) == ([], ["plain.png"])
    assert prompt_of(session, session.instance_images / "mafka4 (1).png").text == "mafka4 at night"
    with pytest.raises(RecipeError, match=r"no \{identifier\}"):
        write_captions(session, "template", "a dog")
    assert len(texts(session)) == 1


def test_the_verb_says_what_became_of_the_captions(
    session: Session, tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer").symlink_to(tokenizer_folder)
    monkeypatch.setattr(pipeline, "base_folder", lambda _: tmp_path)
    pipeline.caption_photos(session, mode="template")
    (session.captions / "plain.txt").write_text("by hand")
    done = pipeline.caption_photos(session, mode="template", template="{identifier} at night")
    assert "2 captions written, 1 kept as they are" in str(done)
    assert [row["prompt"] for row in done["prompts"]] == ["mafka4 at night", "mafka4 at night", "by hand"]
    assert done["kept"] == ["plain.png"]


def test_a_caption_beside_the_photo_is_read(session: Session) -> None:
    beside = session.instance_images / "plain.txt"
    beside.write_text("as the original suite had it")
    found = prompt_of(session, session.instance_images / "plain.png")
    assert (found.text, found.source) == ("as the original suite had it", "caption")
    assert describe(session)["captions"] == 1
    assert write_captions(session).kept == ["plain.png"]
    (session.captions / "plain.txt").write_text("ours comes first")
    assert prompt_of(session, session.instance_images / "plain.png").text == "ours comes first"
    assert beside.read_text() == "as the original suite had it"


@pytest.mark.parametrize("mode", ["", "filename", "blip"])
def test_unknown_caption_modes(session: Session, mode: str) -> None:
    with pytest.raises(SessionError, match=repr(mode)) as caught:
        write_captions(session, mode=mode)
    assert "file name" in caught.value.hint
    assert not list(session.captions.iterdir())


def test_the_table_shows_exact_prompts_and_tokens(session: Session, tokenizer_folder: Path) -> None:
    (session.captions / "mafka4 (1).txt").write_text("{identifier} " + "grass " * 74 + "END")
    (session.captions / "plain.txt").write_text("mafka4 " + "grass " * 74)
    rows = prompt_table(session, tokenizer_folder)
    assert [(row.photo, row.tokens, row.over, row.lost) for row in rows] == [
        ("mafka4 (1).png", 78, True, "END"),
        ("mafka4_in-snow (2).png", 6, False, ""),
        ("plain.png", 77, False, ""),
    ]
    assert rows[1].prompt == "photo of mafka4 dog"
    text = prompt_table_text(rows)
    assert "photo of mafka4 dog" in text
    assert "'END' is not read" in text
    assert (session.logs / "prompts.txt").read_text().strip() == text
    assert rows[0].to_json()["over"] is True
    session.save_recipe(session.recipe().changed(base_model="tiny"))
    assert describe(session)["next"] == "train-text-encoder"


def test_a_prompt_without_the_identifier_is_pointed_out(session: Session, tokenizer_folder: Path) -> None:
    (session.captions / "plain.txt").write_text("a dog on grass")
    rows = prompt_table(session, tokenizer_folder)
    assert [row.notes for row in rows] == [(), (), ("the identifier 'mafka4' is not in this prompt",)]


def test_no_photos_and_no_tokenizer(session: Session, tmp_path: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(SessionError, match="no photos"):
        prompt_table(create(tmp_path, "empty"), tokenizer_folder)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match="bad"):
        prompt_table(session, tmp_path / "bad")


def test_a_place_that_nothing_fills_is_told(session: Session) -> None:
    with pytest.raises(RecipeError, match=r"a place \{clas\}, which nothing fills"):
        pictures.generate(session, "photo of {identifier} {clas}")
    with pytest.raises(RecipeError, match=r"a place \{ident\}"):
        pipeline.caption_photos(session, mode="blip2", prefix="photo of {ident}")
    with pytest.raises(RecipeError, match="prefix: for the mode blip2 alone"):
        pipeline.caption_photos(session, prefix="photo of {identifier}")
