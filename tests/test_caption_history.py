"""The journal of captions: every byte that was there comes back, also after a kill in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fsd.data import caption_history
from fsd.data.caption_history import change_caption, change_captions
from fsd.data.history import append, history_path, read_history
from fsd.data.prompt import MAX_CAPTION_BYTES, caption_path, prompt_of
from fsd.data.session import Session, create
from fsd.data.undoing import History
from fsd.errors import SessionError


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = create(tmp_path, "s")
    (made.instance_images / "10_zwx cat").mkdir()
    for name in ("a.png", "b.png", "10_zwx cat/c.png"):
        Image.new("RGB", (32, 32), "red").save(made.instance_images / name)
    return made


def photo(session: Session, name: str = "a.png") -> Path:
    return session.instance_images / name


def text_of(session: Session, name: str = "a.png") -> str | None:
    path = caption_path(session, Path(name).name)
    return path.read_text() if path.exists() else None


def test_what_was_there_is_kept_and_comes_back(session: Session) -> None:
    change_caption(session, photo(session), "a  red\nsquare\x07", "blip2")
    change_caption(session, photo(session), "a blue square", "hand")
    change_caption(session, photo(session), "a blue square", "hand")  # says so already
    assert text_of(session) == "a blue square\n"
    entries = [entry for _, entry in read_history(session)]
    told = [(entry.photo, entry.before, entry.after, entry.by) for entry in entries]
    assert told == [
        ("a.png", None, "a red square", "blip2"),
        ("a.png", "a red square", "a blue square", "hand"),
    ]
    assert all(entry.time.startswith("20") and entry.time.endswith("+00:00") for entry in entries)
    history = History(session)
    assert history.undo() == ["a.png"] and text_of(session) == "a red square\n"
    assert History(session).undo() == ["a.png"] and text_of(session) is None  # another process
    assert history.undo() == [] and history.redo() == ["a.png"] and text_of(session) == "a red square\n"
    change_caption(session, photo(session), "anew", "hand")
    assert history.redo() == [] and history.undo() == ["a.png"] and text_of(session) == "a red square\n"


def test_no_text_takes_every_file_of_a_photo_away(session: Session) -> None:
    one = photo(session, "10_zwx cat/c.png")
    beside = one.with_suffix(".txt")
    beside.write_text("beside\n")
    change_caption(session, one, "still beside", "hand")
    assert beside.read_text() == "still beside\n" and text_of(session, "c.png") is None
    caption_path(session, "c.png").write_text("in front\n")
    change_caption(session, one, " ", "hand")
    assert prompt_of(session, one).source == "template" and not beside.exists()
    assert History(session).undo() == ["c.png"]
    assert (text_of(session, "c.png"), beside.read_text()) == ("in front\n", "still beside\n")


@pytest.mark.parametrize(
    "content",
    [
        "Grün".encode("latin-1"), "grün".encode("utf-16"), b"a\x00\x07b", b"\xef\xbb\xbfa\r\n", b"  ", b"",
        b"x" * (MAX_CAPTION_BYTES + 1),
    ],
    ids=["latin-1", "utf-16", "controls", "bom", "blank", "empty", "too long"],
)  # fmt: skip
def test_odd_bytes_come_back_as_they_were(session: Session, content: bytes) -> None:
    path = caption_path(session, "a.png")
    path.write_bytes(content)
    change_caption(session, photo(session), "anew", "hand")
    assert path.read_bytes() == b"anew\n"
    history = History(session)
    history.undo()
    assert path.read_bytes() == content
    history.redo()
    history.undo()
    assert path.read_bytes() == content


def test_a_caption_that_cannot_be_one_changes_nothing(session: Session) -> None:
    with pytest.raises(SessionError, match=r"the caption of a\.png has 20001 bytes"):
        change_caption(session, photo(session), "x" * (MAX_CAPTION_BYTES + 1), "hand")
    caption_path(session, "a.png").write_bytes(b"x" * 2_000_000)
    with pytest.raises(SessionError, match="too large to be kept"):
        change_captions(session, [(photo(session, "b.png"), "b"), (photo(session), "a")], "hand")
    assert not history_path(session).exists() and text_of(session, "b.png") is None


def test_a_kill_in_the_middle_of_a_step_loses_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    caption_path(session, "a.png").write_text("old\n")
    put = caption_history._put

    def killed(path: Path, *rest: str | None) -> None:
        if path.stem == "b":
            raise KeyboardInterrupt
        put(path, *rest)

    monkeypatch.setattr(caption_history, "_put", killed)
    with pytest.raises(KeyboardInterrupt):
        change_captions(session, [(photo(session), "new"), (photo(session, "b.png"), "new")], "replace")
    monkeypatch.undo()
    assert (text_of(session), text_of(session, "b.png")) == ("new\n", None)
    with history_path(session).open("ab") as stream:
        stream.write(b'{"step": "cut sh')  # and one in the middle of a line
    history = History(session)
    assert history.to_undo and (history.to_undo.by, history.to_undo.things) == ("replace", 2)
    assert sorted(history.undo()) == ["a.png", "b.png"]
    assert (text_of(session), text_of(session, "b.png")) == ("old\n", None)
    assert sorted(History(session).redo()) == ["a.png", "b.png"] and text_of(session, "b.png") is None
    assert len(list(read_history(session))) == 6


def test_changes_of_one_step_are_undone_together_though_others_come_between(session: Session) -> None:
    change_caption(session, photo(session), "one", "blip2", step="s")
    change_caption(session, photo(session, "b.png"), "by hand", "hand")
    change_caption(session, photo(session, "10_zwx cat/c.png"), "three", "blip2", step="s")
    history = History(session)
    assert history.undo() == ["b.png"]
    assert history.undo() == ["c.png", "a.png"] and text_of(session) is None


def test_what_somebody_wrote_since_is_kept_by_an_undo(session: Session) -> None:
    change_caption(session, photo(session), "one", "hand")
    caption_path(session, "a.png").write_text("in another editor\n")
    history = History(session)
    history.undo()
    assert text_of(session) is None and history.redo() == ["a.png"]
    assert text_of(session) == "in another editor\n"


def test_a_journal_of_a_stranger_reaches_nothing_outside(session: Session, tmp_path: Path) -> None:
    change_caption(session, photo(session), "one", "hand")
    found = next(entry for _, entry in read_history(session))
    history_path(session).write_text(json.dumps(vars(found) | {"file": "../../../../out.txt"}) + "\n[]\n{}\n7\n")
    with pytest.raises(SessionError, match="not in the session"):
        History(session).undo()
    append(session, [])
    assert not (tmp_path / "out.txt").exists()
