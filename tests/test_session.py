"""Sessions: names, the original suite's folders, one writer, export, import and the bin."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from fsd.data import lock, safe_zip
from fsd.data.archive import export_session, import_session, remove_session
from fsd.data.dataset import inputs_fingerprint, training_photos
from fsd.data.photos import add_photos
from fsd.data.session import Session, create, describe, list_sessions, open_session, open_session_folder, writing
from fsd.errors import MachineError, RecipeError, SessionError
from fsd.recipe import Recipe
from fsd.runtime.lock_record import LOCK_NAME, holder, read
from fsd.upkeep import clean_session


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (96, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    image.paste("white", (10, 10, 30, 40))
    image.save(path)
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = create(tmp_path, "my-dog")
    made.save_recipe(Recipe(family="tiny", class_word="dog", resolution_px=64))
    return made


@pytest.fixture
def filled(session: Session, tmp_path: Path) -> Session:
    photos = [picture(tmp_path / "in" / f"{colour}.png", colour) for colour in ("red", "green", "blue")]
    (tmp_path / "in" / "red.txt").write_text("{identifier} on grass")
    add_photos(session, photos)
    return session


def original(root: Path, name: str = "old-one") -> Path:
    folder = root / "Fast-Dreambooth" / "Sessions" / name
    picture(folder / "instance_images" / "githubuser01946 (1).jpg", "red")
    picture(folder / "instance_images" / "githubuser01946 (2).jpg", "blue")
    (folder / "captions").mkdir()
    (folder / "captions" / "githubuser01946 (2).txt").write_text("githubuser01946 in the rain")
    picture(folder / "concept_images" / "a.jpg")
    (folder / f"{name}.ckpt").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("name", ["my-dog", "Größe 2", "犬の写真", "می\u200cخواهم", "a", "x" * 64, "v1.5", "com10"])
def test_good_names(tmp_path: Path, name: str) -> None:
    assert create(tmp_path, name).name == name
    assert open_session(tmp_path, name).name == name


BAD_NAMES = [
    "",
    "  ",
    "a/b",
    "a\\b",
    "..",
    "a..b",
    ".hidden",
    "end.",
    "end ",
    " start",
    "tab\tbed",
    "nul\0",
    "CON",
    "lpt1.txt",
]
BAD_NAMES += ["x" * 65, "a:b", "what?", "\ud800"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(SessionError) as caught:
        create(tmp_path, name)
    assert repr(name[:30])[1:-1] in caught.value.message
    assert "my-dog" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="7"):
        create(tmp_path, 7)  # type: ignore[arg-type]


def test_create_open_list(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="no session 'a'"):
        open_session(tmp_path, "a")
    assert list_sessions(tmp_path) == []
    session = open_session(tmp_path, "a", create=True)
    assert open_session(tmp_path, "a", create=True) == session == open_session_folder(session.folder)
    with pytest.raises(SessionError, match="already a session 'a'"):
        create(tmp_path, "a")
    create(tmp_path, "b")
    assert [found.name for found in list_sessions(tmp_path)] == ["a", "b"]
    with pytest.raises(SessionError) as caught:
        open_session(tmp_path, "aa")
    assert "'a'" in caught.value.hint


def test_a_drive_that_is_not_mounted_is_said(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"no folder .*gdrive"):
        create(tmp_path / "gdrive" / "MyDrive", "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="is a file"):
        open_session(tmp_path / "file", "a", create=True)
    with pytest.raises(SessionError, match="not-there"):
        open_session_folder(tmp_path / "not-there")
    with pytest.raises(SessionError, match="no session"):
        open_session_folder(tmp_path)


def test_recipe_is_kept(session: Session) -> None:
    assert session.recipe().class_word == "dog"
    assert session.manifest()["family"] == "tiny"
    with pytest.raises(RecipeError, match="batch_size is 0"):
        session.save_recipe(Recipe(batch_size=0))
    assert session.recipe().class_word == "dog"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": "x"}', '{"format": 0}', '{"format": true}'])
def test_damaged_session_json(session: Session, content: str) -> None:
    session.session_path.write_text(content)
    with pytest.raises(SessionError, match=r"session\.json"):
        open_session_folder(session.folder)


def test_newer_format_asks_for_an_update(session: Session, tmp_path: Path) -> None:
    zipped = export_session(session, tmp_path / "out.zip")
    session.session_path.write_text('{"format": 99}')
    with pytest.raises(SessionError, match="format 99") as caught:
        open_session_folder(session.folder)
    assert "update" in caught.value.hint
    with pytest.raises(SessionError, match="format 99"):
        import_session(tmp_path, session.folder, "copy")
    with zipfile.ZipFile(zipped) as old, zipfile.ZipFile(tmp_path / "new.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, '{"format": 99}' if name.endswith("session.json") else old.read(name))
    with pytest.raises(SessionError, match=r"'new\.zip' has format 99"):
        import_session(tmp_path, tmp_path / "new.zip", "copy")
    assert [p.name for p in session.folder.parent.iterdir()] == ["my-dog"]


def test_sessions_of_the_original_suite_open_untouched(tmp_path: Path) -> None:
    folder = original(tmp_path)
    before = everything(folder)
    session = open_session(tmp_path, "old-one")
    found = describe(session)
    assert found["original_suite"] is True
    assert (found["photos"], found["captions"], found["class_images"], found["ckpt"]) == (2, 1, 1, ["old-one.ckpt"])
    assert (found["state"], found["next"]) == ("CKPT saved", "choose-base-model")
    assert [s.name for s in list_sessions(tmp_path)] == ["old-one"]
    assert session.recipe().identifier == "githubuser01946"
    assert everything(folder) == before
    prompts = [photo.prompt for photo in training_photos(session)]
    assert prompts == ["githubuser01946", "githubuser01946 in the rain"]
    after = everything(folder)
    assert set(after) - set(before) == {"session.json", "crops.json"}
    assert {name: after[name] for name in before} == before
    assert session.manifest()["prompts"] == "file name"
    (folder / "old-one.ckpt").unlink()
    assert describe(session)["next"] == "choose-base-model"


@pytest.mark.parametrize("name", ["what?", "a..b", "end.", "a:b", "x" * 70, " start", "CON"])
def test_a_session_that_is_there_is_opened_whatever_its_name(tmp_path: Path, name: str) -> None:
    original(tmp_path, name)
    assert open_session(tmp_path, name, create=True).name == name
    session = open_session(tmp_path, name)
    session.save_recipe(session.recipe().changed(base_model="tiny"))
    assert describe(session)["next"] == "generate"


@pytest.mark.parametrize("name", ["..", ".", "", "../Sessions/old-one", "old-one/", "old\\one", "old\tone"])
def test_no_name_leads_elsewhere(tmp_path: Path, name: str) -> None:
    original(tmp_path)
    original(tmp_path, "old\tone")
    with pytest.raises(SessionError, match="session name"):
        open_session(tmp_path, name, create=True)


def checkpoint(session: Session, stage: str, step: int, done: bool) -> None:
    folder = session.checkpoints / f"{stage}-{step:06d}"
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text(json.dumps({"stage": stage, "step": step, "done": done}))


def test_describe_names_the_next_verb(filled: Session, tmp_path: Path) -> None:
    empty = create(tmp_path, "empty")
    assert (describe(empty)["state"], describe(empty)["next"]) == ("empty", "add-photos")
    assert describe(filled)["next"] == "choose-base-model"
    filled.save_recipe(filled.recipe().changed(base_model="tiny"))
    assert describe(filled)["next"] == "caption-photos"
    for photo in ("green", "blue"):
        (filled.captions / f"{photo}.txt").write_text("x")
    assert describe(filled)["next"] == "train-text-encoder"
    checkpoint(filled, "text_encoder", 200, done=False)
    (filled.checkpoints / ".text_encoder-000300.partial-1").mkdir()
    (filled.checkpoints / "text_encoder-000250").mkdir()
    assert describe(filled)["state"] == "text encoder at step 200"
    checkpoint(filled, "text_encoder", 350, done=True)
    assert (describe(filled)["state"], describe(filled)["next"]) == ("text encoder trained", "train-unet")
    checkpoint(filled, "unet", 1500, done=True)
    assert describe(filled)["next"] == "save-ckpt"
    (filled.folder / "my-dog.safetensors").write_bytes(b"x")
    found = describe(filled)
    assert (found["next"], found["ckpt"]) == ("generate", ["my-dog.safetensors"])
    assert [c["step"] for c in found["checkpoints"]["text_encoder"]] == [200, 350]
    filled.save_recipe(filled.recipe().changed(unet__steps=2000))
    assert describe(filled)["steps_done"] == {"text_encoder": 350, "unet": 1500}
    assert describe(filled)["steps_planned"] == {"text_encoder": 350, "unet": 2000}
    assert found["bytes"]["total"] == sum(len(content) for content in everything(filled.folder).values())
    assert json.loads(json.dumps(found)) == found


def test_a_broken_session_does_not_hide_the_others(filled: Session, tmp_path: Path) -> None:
    bad = create(tmp_path, "a-bad-one")
    bad.session_path.write_text("{")
    states = {found.name: describe(found)["state"] for found in list_sessions(tmp_path)}
    assert states["my-dog"] == "photos added"
    assert states["a-bad-one"].startswith("cannot be opened")


RECIPES = {
    "a stage that is a number": ('{"unet": 5}', "unet is 5, not an object with steps"),
    "a text for a number": ('{"resolution_px": "512"}', "resolution_px is '512', not a"),
    "nothing for a stage": ('{"text_encoder": null, "seed": 0.5}', "text_encoder is None.*seed is 0.5"),
    "a list": ("[]", "holds no settings"),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_broken_recipe_does_not_hide_the_others(filled: Session, tmp_path: Path, kind: str) -> None:
    bad = create(tmp_path, "a-bad-one")
    bad.recipe_path.write_text(RECIPES[kind][0])
    with pytest.raises(RecipeError, match=RECIPES[kind][1]):
        bad.recipe()
    states = {found.name: describe(found)["state"] for found in list_sessions(tmp_path)}
    assert states["my-dog"] == "photos added"
    assert states["a-bad-one"].startswith("cannot be opened: ")


def test_a_recipe_that_is_a_folder_and_dangling_links(filled: Session, tmp_path: Path) -> None:
    create(tmp_path, "a-bad-one").recipe_path.mkdir()
    for place in ("class_images/a.jpg", "instance_images/b.jpg", "c.ckpt", "d", "logs/e"):
        (filled.folder / place).symlink_to("/nowhere/at/all")
    (filled.logs / "not ours").symlink_to(sys.executable)
    filled.checkpoints.joinpath("unet-000010").mkdir()
    filled.checkpoints.joinpath("unet-000010", "checkpoint.json").write_text('{"stage": "unet", "step": 10}')
    found = [describe(session) for session in list_sessions(tmp_path)]
    assert [row["name"] for row in found] == ["a-bad-one", "my-dog"]
    assert (found[1]["photos"], found[1]["ckpt"], found[1]["class_images"]) == (3, [], 0)
    assert found[1]["bytes"]["logs"] < 1000


def test_what_interrupted_work_left_is_cleared(session: Session) -> None:
    inside, mine = session.folder / ".photos.partial-0123abcd", session.folder.parent / "my.partial-one"
    old, young = (session.folder.parent / f".{name}.partial-0123abcd" for name in ("old", "young"))
    for folder in (inside, old, young, mine):
        folder.mkdir()
        (folder / "a.jpg").write_bytes(b"half")
    aged(old, 2 * 24 * 60 * 60)
    assert clean_session(session, "all")["freed_bytes"] == 8
    assert [folder.exists() for folder in (inside, old, young, mine)] == [False, False, True, True]


def test_an_empty_folder_becomes_a_session(tmp_path: Path) -> None:
    folder = create(tmp_path, "a").folder.with_name("b")
    folder.mkdir()
    with pytest.raises(SessionError, match="no session"):
        open_session(tmp_path, "b")
    assert open_session(tmp_path, "b", create=True).manifest()["original"] is False


def lock_of(session: Session, **record: object) -> Path:
    path = session.folder / LOCK_NAME
    path.write_text(json.dumps(record))
    return path


def aged(path: Path, seconds: float) -> Path:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return path


def test_one_writer_at_a_time(session: Session) -> None:
    lock_of(session, pid=os.getppid(), host=socket.gethostname(), since="2026-01-02T03:04:05+00:00")
    aged(session.folder / LOCK_NAME, 99_999)
    with pytest.raises(SessionError) as caught, writing(session):
        pass
    told = str(caught.value)
    assert str(os.getppid()) in told
    assert socket.gethostname() in told
    assert "2026-01-02" in told
    assert caught.value.hint == "wait for it or stop it"
    assert describe(session)["writer"]["pid"] == os.getppid()


def test_another_hosts_writer_is_dead_after_five_minutes_without_a_touch(session: Session) -> None:
    path = aged(lock_of(session, pid=1, host="another-machine", since="now"), 290)
    with pytest.raises(SessionError, match="another-machine") as caught:
        session.save_recipe(Recipe())
    end = datetime.fromtimestamp(path.stat().st_mtime + 300, UTC)
    assert f"after {end:%H:%M:%S} UTC" in caught.value.hint
    aged(path, 310)
    assert describe(session)["writer"] is None
    with writing(session):
        assert holder(session.folder)["pid"] == os.getpid()  # type: ignore[index]
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"pid": "x"}'])
def test_a_lock_that_says_nothing_is_dead_after_a_minute(session: Session, content: str) -> None:
    path = session.folder / LOCK_NAME
    path.write_text(content)
    with pytest.raises(SessionError, match="unknown host"):
        session.save_recipe(Recipe())
    aged(path, 61)
    session.save_recipe(Recipe())


def test_the_holder_touches_its_lock_and_no_other(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TOUCH_SECONDS", 0.01)
    with writing(session):
        path = aged(session.folder / LOCK_NAME, 1000)
        wait_until(lambda: time.time() - path.stat().st_mtime < 100)
        aged(lock_of(session, pid=1, host="another-machine", since="now"), 1000)
        time.sleep(0.1)
        assert time.time() - path.stat().st_mtime > 900
    assert json.loads(path.read_text())["host"] == "another-machine"


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError


@pytest.mark.parametrize(("code", "word"), [(28, "No space left"), (30, "Read-only")])
def test_a_lock_that_cannot_be_written_leaves_none(
    session: Session, monkeypatch: pytest.MonkeyPatch, code: int, word: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("json.dump", fail)
    with pytest.raises(MachineError, match=word), writing(session):
        pass
    assert not (session.folder / LOCK_NAME).exists()
    monkeypatch.undo()
    monkeypatch.setattr("pathlib.Path.open", fail)
    with pytest.raises(MachineError, match=word), writing(session):
        pass


def test_a_lock_taken_by_another_meanwhile_is_given_back(session: Session) -> None:
    path = lock_of(session, pid=os.getppid(), host=socket.gethostname(), since="now")
    seen = read(path)
    aged(path, 10)
    assert seen is not None
    lock._set_aside(path, seen)
    assert json.loads(path.read_text())["pid"] == os.getppid()
    lock._set_aside(path, read(path) or {})
    assert not path.exists()


def test_a_dead_writer_is_taken_over(session: Session) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    lock_of(session, pid=process.pid, host=socket.gethostname(), since="then")
    assert holder(session.folder) is None
    with writing(session), writing(session):
        assert (session.folder / LOCK_NAME).exists()
    lock_of(session, pid=os.getppid(), host=socket.gethostname(), since="then", started="1")
    with writing(session):  # a younger process has that number now
        pass
    assert not (session.folder / LOCK_NAME).exists()


def test_the_lock_is_released_on_errors(session: Session) -> None:
    with pytest.raises(ZeroDivisionError), writing(session):
        raise ZeroDivisionError
    assert not (session.folder / LOCK_NAME).exists()


def test_a_living_child_keeps_others_out(session: Session) -> None:
    code = "import sys; from fsd.data.session import *; session = open_session_folder(sys.argv[1])\n"
    code += "with writing(session): print('in', flush=True); input()"
    command = [sys.executable, "-c", code, str(session.folder)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    with pytest.raises(SessionError, match=str(child.pid)), writing(session):
        pass
    child.kill()
    child.communicate()
    with writing(session):
        pass


@pytest.mark.parametrize("kind", ["out.zip", "out"])
def test_export_and_import_give_the_same_session(filled: Session, tmp_path: Path, kind: str) -> None:
    filled.cache.mkdir()
    (filled.cache / "latents").write_bytes(b"big")
    (filled.folder / "my-dog.safetensors").write_bytes(b"weights")
    training_photos(filled)
    target = export_session(filled, tmp_path / kind)
    with pytest.raises(SessionError, match="there already"):
        export_session(filled, target)
    copy = import_session(tmp_path, target, "copy")
    assert inputs_fingerprint(copy) == inputs_fingerprint(filled)
    assert not copy.cache.exists()
    assert [path.name for path in copy.ckpt_files()] == ["copy.safetensors"]
    assert copy.manifest()["name"] == "copy"
    assert copy.recipe() == filled.recipe()
    with pytest.raises(SessionError, match="already a session 'copy'") as caught:
        import_session(tmp_path, target, "copy")
    assert "another name: name=" in caught.value.hint


def test_import_keeps_the_name_and_originals_come_in(tmp_path: Path) -> None:
    original(tmp_path / "a")
    session = open_session(tmp_path / "a", "old-one")
    before = everything(session.folder)
    (tmp_path / "b").mkdir()
    copy = import_session(tmp_path / "b", session.folder)
    assert copy.name == "old-one"
    assert everything(copy.folder) == before
    with pytest.raises(SessionError, match="no session"):
        import_session(tmp_path / "b", tmp_path / "a" / "Fast-Dreambooth", "x")
    with pytest.raises(SessionError, match="nowhere"):
        import_session(tmp_path / "b", tmp_path / "nowhere")


def test_an_imported_record_moves_nothing_of_others(session: Session, tmp_path: Path) -> None:
    victim = tmp_path / "victim" / "mine.safetensors"
    victim.parent.mkdir()
    victim.write_bytes(b"mine")
    for name in ("../../../victim/mine", str(victim.with_suffix("")), "../my-dog/mine"):
        (session.folder / "mine.safetensors").write_bytes(b"weights")
        session.session_path.write_text(json.dumps({"format": 1, "name": name}))
        copy = import_session(tmp_path, session.folder, "copy")
        assert [path.name for path in copy.ckpt_files()] == ["mine.safetensors"]
        assert victim.read_bytes() == b"mine"
        assert (session.folder / "mine.safetensors").read_bytes() == b"weights"
        remove_session(copy)


@pytest.mark.parametrize("kind", ["below a file", "nobody's home", "too long"])
def test_places_where_nothing_can_be_written(session: Session, tmp_path: Path, kind: str) -> None:
    place = {"below a file": f"{__file__}/x", "nobody's home": "~no-such-user/x", "too long": "x" * 300}[kind]
    for verb in (export_session, lambda _, path: import_session(tmp_path, path), lambda _, path: create(path, "a")):
        with pytest.raises(SessionError) as caught:
            verb(session, place)
        assert place[:30] in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("kind", ["out", "out.zip"])
def test_an_export_that_fails_is_one_error(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(MachineError, match=f"{kind} cannot be written: Permission denied"):
        export_session(session, tmp_path / kind)
    assert [path.name for path in tmp_path.iterdir()] == ["Fast-Dreambooth"]


def test_no_export_into_a_session(session: Session, tmp_path: Path) -> None:
    exported = export_session(session, tmp_path / "out")
    for place in (session.folder / "copy.zip", exported / "again", exported / "logs", exported / "logs" / "out.zip"):
        with pytest.raises(SessionError, match="inside the session"):
            export_session(session, place)
    assert not list(exported.rglob("my-dog"))
    (tmp_path / "kept").mkdir()
    assert export_session(session, tmp_path / "kept") == tmp_path / "kept" / "my-dog"
    with pytest.raises(SessionError, match="my-dog is there already"):
        export_session(session, tmp_path / "kept")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("out.tar.gz", "neither a folder nor a zip"),
        ("out.7z", "neither a folder nor a zip"),
        ("my-dog.safetensors", "neither a folder nor a zip"),
        ("no/such/out", "there is no folder .*no/such"),
        ("no/out.zip", "there is no folder .*no"),
    ],
)
def test_places_that_no_export_can_be(session: Session, tmp_path: Path, place: str, said: str) -> None:
    with pytest.raises(SessionError, match=said) as caught:
        export_session(session, tmp_path / place)
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["Fast-Dreambooth"]
    assert export_session(session, tmp_path / "v1.5").is_dir()


def unix(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


BAD_MEMBERS = {
    "../escape.txt": "leads out",
    "a/../../escape.txt": "leads out",
    "/etc/passwd": "absolute",
    "C:/windows.txt": "absolute",
    "c:evil": "absolute",
    "a\\b.txt": "backslash",
    "a\x07b.txt": "control",
    "x" * 300: "too long",
}


@pytest.mark.parametrize("name", BAD_MEMBERS)
def test_zip_members_that_escape(tmp_path: Path, name: str) -> None:
    refused(tmp_path, [(zipfile.ZipInfo(name), b"x")], BAD_MEMBERS[name])


KINDS = [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "device"), (stat.S_IFSOCK, "device")]


@pytest.mark.parametrize(("kind", "word"), KINDS)
def test_zip_links_and_devices(tmp_path: Path, kind: int, word: str) -> None:
    refused(tmp_path, [(unix("instance_images/a.jpg", kind | 0o777), b"/etc/passwd")], word)


def test_zip_with_a_member_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        refused(tmp_path, [(zipfile.ZipInfo("a.txt"), b"1"), (zipfile.ZipInfo("a.txt"), b"2")], "twice")


def refused(tmp_path: Path, members: list[tuple[zipfile.ZipInfo, bytes]], word: str) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("s/session.json", '{"format": 1}')
        for info, content in members:
            archive.writestr(info, content)
    with pytest.raises(SessionError, match=word) as caught:
        import_session(tmp_path, path, "new")
    assert "bad.zip" in caught.value.message
    assert [p.name for p in tmp_path.rglob("*")] == ["bad.zip"]


def test_zip_bombs_by_what_they_declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("session.json", bytes(safe_zip.RATIO_FREE_BYTES + 1))
    with pytest.raises(SessionError, match="bomb"):
        import_session(tmp_path, path, "new")
    monkeypatch.setattr(safe_zip, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(SessionError, match="more than 0 MiB"):
        safe_zip.SafeZip(path, 1000)
    monkeypatch.setattr(safe_zip, "MAX_MEMBERS", 0)
    with pytest.raises(SessionError, match="1 members"):
        import_session(tmp_path, path, "new")


def test_zip_bombs_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s/instance_images/a.bin", bytes(200_000))
    raw = path.read_bytes()
    path.write_bytes(raw.replace((200_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(SessionError, match=r"a\.bin"):
        import_session(tmp_path, path, "new")
    assert not list(tmp_path.rglob("Fast-Dreambooth/Sessions/*"))


def test_damaged_and_encrypted_zips(tmp_path: Path, filled: Session) -> None:
    good = export_session(filled, tmp_path / "good.zip").read_bytes()
    broken = tmp_path / "broken.zip"
    (tmp_path / "other").mkdir()
    for content in (b"", b"no zip", good[: len(good) // 2], good.replace(b"\x89PNG", b"\x89PNX", 1)):
        broken.write_bytes(content)
        with pytest.raises(SessionError, match=r"broken\.zip") as caught:
            import_session(tmp_path / "other", broken, "new")
        assert caught.value.hint == "copy it again from where it is whole, or export it anew"
    encrypted = bytearray(good)
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    broken.write_bytes(encrypted)
    with pytest.raises(SessionError, match="encrypted"):
        import_session(tmp_path / "other", broken, "new")
    assert not [p for p in (tmp_path / "other").rglob("*") if p.is_file()]


def test_folders_with_links_are_not_imported(tmp_path: Path, filled: Session) -> None:
    out = export_session(filled, tmp_path / "out")
    (out / "instance_images" / "secret.jpg").symlink_to("/etc/passwd")
    with pytest.raises(SessionError, match=r"secret\.jpg is a link"):
        import_session(tmp_path, out, "new")
    assert [s.name for s in list_sessions(tmp_path)] == ["my-dog"]


def test_an_import_that_fails_leaves_nothing(tmp_path: Path, filled: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    out = export_session(filled, tmp_path / "out")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copy2", fail)
    with pytest.raises(SessionError, match="No space left"):
        import_session(tmp_path, out, "new")
    assert [p.name for p in filled.folder.parent.iterdir()] == ["my-dog"]


def test_removed_sessions_lie_in_the_bin(tmp_path: Path, filled: Session) -> None:
    before = everything(filled.folder)
    path = remove_session(filled)
    assert path.parent == tmp_path / "Fast-Dreambooth" / "bin"
    assert path.name.startswith("my-dog-2")
    assert everything(path) == before
    assert list_sessions(tmp_path) == []
    create(tmp_path, "my-dog")
    with pytest.raises(SessionError, match="not in a sessions folder"):
        remove_session(Session(tmp_path))


def test_a_session_in_use_is_not_removed(session: Session) -> None:
    lock_of(session, pid=os.getppid(), host=socket.gethostname(), since="then")
    with pytest.raises(SessionError, match="being written"):
        remove_session(session)
    assert session.folder.is_dir()
