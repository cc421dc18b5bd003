"""The caption editor without a view: every operation, each undone again; and ten thousand photos."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageOps
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from fsd.data import decode
from fsd.data.caption_editor import CaptionEditor
from fsd.data.crop import crop_of, set_box
from fsd.data.dataset import inputs_fingerprint, training_photos
from fsd.data.decode import open_photo
from fsd.data.jpeg import turned_jpeg
from fsd.data.photos import add_photos
from fsd.data.prompt import MAX_CAPTION_BYTES, caption_path, need_no_strays
from fsd.data.session import Session, create
from fsd.data.turning import turned
from fsd.errors import MachineError, SessionError
from fsd.recipe import Recipe
from fsd.runtime import live
from fsd.upkeep import edit_captions
from fsd.webui.captions.opening import open_editor

CAPTIONS = {"a.jpg": "a red dog, on grass, sunny", "b.png": "a red cat, indoors, sunny", "c.webp": "a red, red bird"}


def drawn(size: tuple[int, int] = (60, 40)) -> Image.Image:
    picture = Image.new("RGB", size, (200, 210, 220))
    ImageDraw.Draw(picture).rectangle((4, 4, size[0] // 2, size[1] // 3), fill=(200, 30, 40))
    return picture


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = create(tmp_path, "s")
    made.save_recipe(Recipe(family="tiny", resolution_px=64, identifier="zwx", class_word="dog"))
    for name, text in CAPTIONS.items():
        drawn().save(made.instance_images / name)
        caption_path(made, name).write_text(text + "\n")
    (made.instance_images / "2_mno cat").mkdir()
    drawn().save(made.instance_images / "2_mno cat" / "d.png")
    return made


@pytest.fixture
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return made


@pytest.fixture
def editor(session: Session, tokenizer: Tokenizer) -> CaptionEditor:
    return CaptionEditor(session, tokenizer)


def texts(editor: CaptionEditor) -> dict[str, str]:
    return {row.photo: row.caption for row in editor.rows(editor.names()) if row.caption}


def files(session: Session) -> dict[str, bytes]:
    """What the session's photos, captions and squares are, to the byte."""
    parts = [session.instance_images, session.captions, session.masks]
    found = [path for part in parts for path in part.rglob("*") if path.is_file()]
    return {path.relative_to(session.folder).as_posix(): path.read_bytes() for path in found}


def test_rows_say_what_each_photo_is_trained_with(editor: CaptionEditor) -> None:
    editor.edit("a.jpg", " ".join(["{identifier}"] * 76))
    rows = {row.photo: row for row in editor.rows(editor.names())}
    assert list(rows) == ["a.jpg", "b.png", "c.webp", "d.png"]
    assert rows["a.jpg"].prompt and editor.tokens(rows["a.jpg"].prompt) == 76 and editor.most_tokens == 75
    assert rows["a.jpg"].prompt.over and rows["a.jpg"].prompt.lost == "zwx"
    assert rows["a.jpg"].caption.startswith("{identifier}") and rows["a.jpg"].prompt.prompt.startswith("zwx zwx")
    assert rows["d.png"].prompt and rows["d.png"].prompt.prompt == "photo of mno cat"
    assert (rows["d.png"].prompt.source, rows["d.png"].prompt.concept) == ("template", "2_mno cat")
    assert editor.names("INDOORS") == ["b.png"] and editor.names("d.p") == ["d.png"] and editor.names("zzz") == []


def test_what_is_typed_in_one_go_is_one_step(editor: CaptionEditor) -> None:
    for text in ("a re", "a red f", "a red fox"):
        editor.edit("a.jpg", text)
    editor.edit("b.png", "a cat")
    editor.edit("a.jpg", "a red fox, running")
    assert editor.undo() == ["a.jpg"] and editor.undo() == ["b.png"] and texts(editor)["a.jpg"] == "a red fox"
    assert editor.undo() == ["a.jpg"] and texts(editor) == CAPTIONS


def bulk(editor: CaptionEditor, do: Callable[[], Any]) -> dict[str, str]:
    """What captions say after something is done to all, which one undo takes back and one redo brings."""
    before = texts(editor)
    do()
    after = texts(editor)
    editor.undo()
    assert texts(editor) == before
    editor.redo()
    assert texts(editor) == after
    return after


def test_find_and_replace_over_all(editor: CaptionEditor) -> None:
    found = editor.count("red")
    assert (found.photos, found.places) == ([*CAPTIONS], 4) and texts(editor) == CAPTIONS
    assert bulk(editor, lambda: editor.replace("red", "blue"))["c.webp"] == "a blue, blue bird"
    assert bulk(editor, lambda: editor.replace(r"a (\w+) (dog|cat)", r"the \2, \1", regex=True)) == {
        "a.jpg": "the dog, blue, on grass, sunny", "b.png": "the cat, blue, indoors, sunny", "c.webp": "a blue, blue bird",
    }  # fmt: skip
    assert editor.replace("a.j", "x").photos == [] and editor.count(r"b\w+e", regex=True).places == 4
    assert bulk(editor, lambda: editor.replace(".*", "", regex=True)) == {}  # all follow the template now
    assert editor.rows(["a.jpg"])[0].prompt.source == "template"  # type: ignore[union-attr]


@pytest.mark.parametrize(("find", "replace"), [("(", "x"), ("a", r"\7"), ("", ""), ("a", r"\q"), ("[", "")])
def test_an_expression_that_is_none_is_one_error(editor: CaptionEditor, find: str, replace: str) -> None:
    with pytest.raises(SessionError) as fault:
        editor.replace(find, replace, regex=True)
    assert fault.value.hint and texts(editor) == CAPTIONS and editor.history.to_undo is None


def test_prefixes_and_tags(editor: CaptionEditor) -> None:
    assert editor.common_prefix() == "a"
    with_it = bulk(editor, lambda: editor.add_prefix("photo of {identifier},"))
    assert with_it["a.jpg"] == "photo of {identifier}, a red dog, on grass, sunny"
    assert editor.add_prefix("photo of {identifier},").photos == []
    assert bulk(editor, lambda: editor.remove_prefix("photo of {identifier},")) == CAPTIONS
    assert editor.tags()[0] == ("sunny", 2) and editor.tags(1) == [("sunny", 2)]
    assert bulk(editor, lambda: editor.drop_tag("sunny"))["b.png"] == "a red cat, indoors"


def test_a_photo_is_set_aside_with_all_that_is_its_and_comes_back(editor: CaptionEditor, session: Session) -> None:
    session.masks.mkdir()
    Image.new("L", (60, 40), 255).save(session.masks / "b.png")
    set_box(session, "b.png", 1, 2, 30)
    beside = session.instance_images / "2_mno cat" / "d.txt"
    beside.write_text("a cat beside\n")
    before, trained = files(session), inputs_fingerprint(session)
    [moved, _] = editor.set_aside(["b.png", "d.png"])
    assert moved == session.photos_aside / "instance_images" / "b.png" and editor.names() == ["a.jpg", "c.webp"]
    assert [photo.path.name for photo in training_photos(session)] == ["a.jpg", "c.webp"]
    need_no_strays(session)
    assert inputs_fingerprint(session) != trained and not beside.exists()
    assert [path.name for path in editor.aside()] == ["b.png", "d.png"]
    editor.bring_back(editor.aside())
    assert files(session) == before and inputs_fingerprint(session) == trained
    editor.undo()
    editor.undo()
    assert files(session) == before and crop_of(session, session.instance_images / "b.png") is not None
    editor.set_aside(["b.png"])
    drawn((30, 30)).save(session.instance_images / "b.png")
    editor.refresh()
    with pytest.raises(SessionError, match="cannot come back"):
        editor.bring_back(editor.aside())
    with pytest.raises(SessionError, match="there is a file of that name"):
        editor.undo()
    assert [path.name for path in editor.set_aside(["b.png"])] == ["b (2).png"]
    shutil.rmtree(session.photos_aside)  # as clean_session frees it
    with pytest.raises(SessionError, match=r"b \(2\)\.png is no longer in"):
        editor.undo()
    assert "b.png" not in editor.names()


@pytest.mark.parametrize("name", ["a.jpg", "b.png", "c.webp"])
def test_a_turn_is_lossless_and_undone_to_the_byte(editor: CaptionEditor, session: Session, name: str) -> None:
    path = session.instance_images / name
    session.masks.mkdir()
    drawn().save(session.masks / f"{path.stem}.png")
    set_box(session, name, 3, 2, 20)
    seen, before = open_photo(path), files(session)
    now = session.instance_images / editor.turn(name)
    assert ImageChops.difference(open_photo(now), turned(seen, 1)).getbbox() is None
    crop = crop_of(session, now)
    assert crop and crop.box == (40 - 2 - 20, 3, 20) and crop.by == "hand"
    assert ImageChops.difference(open_photo(session.masks / f"{path.stem}.png"), turned(drawn(), 1)).getbbox() is None
    assert editor.rows([now.name])[0].caption == CAPTIONS[name]
    for _ in range(3):
        now = session.instance_images / editor.turn(now.name)
    assert ImageChops.difference(open_photo(now), seen).getbbox() is None
    after = files(session)
    for _ in range(4):
        editor.undo()
    assert files(session) == before and crop_of(session, path) is not None
    for _ in range(4):
        editor.redo()
    assert files(session) == after
    assert {entry.name[:2] for entry in (session.originals / "instance_images").iterdir()} == {f"{path.stem}-"}


@pytest.mark.parametrize("orientation", range(9))
def test_a_jpeg_turns_by_its_exif_however_it_is_held(orientation: int) -> None:
    stream, exif = BytesIO(), Image.Exif()
    exif[0x010F] = "a camera"
    if orientation:
        exif[0x0112] = orientation
    drawn().save(stream, format="JPEG", exif=exif, quality=95)
    for quarters in (1, 2, 3):
        new = turned_jpeg(stream.getvalue(), quarters)
        assert new and len(new) - len(stream.getvalue()) in (0, 12)
        with Image.open(BytesIO(new)) as after, Image.open(stream) as before:
            assert after.getexif()[0x010F] == "a camera"
            wanted = turned(ImageOps.exif_transpose(before), quarters)
            assert ImageChops.difference(ImageOps.exif_transpose(after), wanted).getbbox() is None
    assert turned_jpeg(stream.getvalue()[:200], 1) is None and turned_jpeg(b"\xff\xd8\xff\xe1\x00", 1) is None


def test_a_turn_refuses_what_it_would_lose(editor: CaptionEditor, session: Session) -> None:
    (session.instance_images / "a.jpg").write_bytes(b"\xff\xd8 damaged")
    drawn().save(session.instance_images / "c.png")
    editor.refresh()
    before = files(session)
    for name, said in (("a.jpg", "a.jpg: "), ("c.webp", "which is another photo"), ("x", "no longer in session")):
        with pytest.raises(SessionError, match=said):
            editor.turn(name)
    assert files(session) == before and editor.history.to_undo is None


def test_what_was_set_aside_or_turned_is_not_added_once_more(
    editor: CaptionEditor, session: Session, tmp_path: Path
) -> None:
    source = tmp_path / "again"
    source.mkdir()
    for place, path in enumerate(sorted(session.instance_images.glob("*.*"))):
        drawn((60 + place, 40)).save(path)  # of their own bytes
        shutil.copy(path, source)
    editor.turn("a.jpg")
    editor.set_aside(["b.png"])
    skipped = dict(add_photos(session, source).skipped)
    assert skipped == {
        "a.jpg": "it is there already, turned, as a",
        "b.png": "it was set aside; edit_captions brings it back",
        "c.webp": "the same bytes are there already, as c.webp",
    }
    assert editor.names() == ["a.jpg", "c.webp", "d.png"]


def test_a_square_is_undone_too(editor: CaptionEditor, session: Session) -> None:
    found = editor.crop("a.jpg")
    assert editor.set_crop("a.jpg", 2, 3, 25).box == (2, 3, 25)
    editor.undo()
    assert editor.crop("a.jpg") == found
    editor.redo()
    assert editor.crop("a.jpg").box == (2, 3, 25)


def test_captions_that_cannot_be_read_are_told_and_all_others_kept(editor: CaptionEditor, session: Session) -> None:
    caption_path(session, "b.png").write_bytes(b"x" * (MAX_CAPTION_BYTES + 1))
    caption_path(session, "c.webp").write_bytes("ein grüner Vogel\x07".encode("latin-1"))
    rows = {row.photo: row for row in editor.rows(editor.names())}
    assert "not a caption" in rows["b.png"].fault and rows["b.png"].prompt is None
    assert rows["c.webp"].prompt and len(rows["c.webp"].prompt.notes) == 3
    done = editor.add_prefix("x,")
    assert [name for name, _ in done.skipped] == ["b.png"] and texts(editor)["c.webp"] == "x, ein grüner Vogel"
    editor.undo()
    assert caption_path(session, "c.webp").read_bytes() == "ein grüner Vogel\x07".encode("latin-1")


def test_outside_of_notebooks_it_says_where(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fsd webui launch --ui studio, tab Captions" in edit_captions(session).text
    with pytest.raises(SessionError, match="no photos yet"):
        edit_captions(create(tmp_path, "empty"))
    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.delitem(sys.modules, "fsd.webui.captions.notebook", raising=False)
    with pytest.raises(MachineError, match="ipywidgets is not installed"):
        edit_captions(session)


def test_what_a_full_disk_refuses_is_kept_in_the_page_and_saved_later(
    editor: CaptionEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ipywidgets")
    from fsd.webui.captions.notebook import CaptionView

    view = CaptionView(editor)
    monkeypatch.setattr("fsd.data.caption_history.append", full)
    view._cards[0]._text.value = "a red fox"
    assert "not saved yet" in view._cards[0]._facts.value and "the disk is full" in view._said.value
    view.show()
    assert view._cards[0]._text.value == "a red fox" and texts(editor) == CAPTIONS
    monkeypatch.undo()
    view.filter("indoors")
    assert texts(editor)["a.jpg"] == "a red fox" and view._cards[0]._text.value == CAPTIONS["b.png"]
    assert [card.box.layout.display for card in view._cards[:2]] == ["", "none"]
    view.filter("")
    view._undo.click()
    assert texts(editor) == CAPTIONS and view._cards[0]._text.value == CAPTIONS["a.jpg"]


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "history.jsonl")


def test_ten_thousand_photos(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    session = create(tmp_path, "many")
    one = BytesIO()
    Image.new("L", (8, 8)).save(one, format="PNG")
    first = session.instance_images / "00000.png"
    first.write_bytes(one.getvalue())
    for number in range(1, 10_000):
        (session.instance_images / f"{number:05}.png").hardlink_to(first)
    monkeypatch.setattr(decode, "_decode", None)  # none of them is opened
    for number in range(0, 10_000, 100):
        caption_path(session, f"{number:05}.png").write_text(f"{'a long caption, ' * 60} number {number}\n")
    tracemalloc.start()
    editor = CaptionEditor(session, tokenizer)
    assert len(editor.names()) == 10_000 and len(editor.rows(editor.names()[:12])) == 12
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 30 << 20
    assert editor.names("number 9900") == ["09900.png"]
    assert len(editor.replace("number", "nr").photos) == 100
    shutil.rmtree(session.instance_images)


def test_a_filter_by_what_is_seen_asks_the_model_once(session: Session) -> None:
    asked = []

    def nearest(words: str) -> list[str]:
        asked.append(words)
        return ["b.png", "gone.png", "a.jpg"]

    editor = CaptionEditor(session, nearest=nearest)
    assert [editor.names("~ a cup in snow ") for _ in range(2)] == [["b.png", "a.jpg"]] * 2
    assert asked == ["a cup in snow"]
    assert editor.names("~") == editor.names()


def test_a_filter_by_what_is_seen_fetches_nothing(session: Session) -> None:
    session.save_recipe(session.recipe().changed(captioner__matcher="somebody/no-such-matcher"))
    with pytest.raises(SessionError, match="with somebody/no-such-matcher, which is not on this machine"):
        open_editor(session).names("~snow")
