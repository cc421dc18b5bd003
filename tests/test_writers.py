"""Several notebooks on one session: one writes, the lock of a dead one is taken over with a word, nothing is mixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest

from fsd.data import lock
from fsd.data.session import Session, create, writing
from fsd.errors import SessionError
from fsd.runtime.lock_record import LOCK_NAME, holder, own_record

ROOT = Path(__file__).parents[1]
ADD_ONE = """
import sys
from pathlib import Path
from fsd.data.session import open_session_folder, writing
from fsd.errors import SessionError
from fsd.runtime import files
session = open_session_folder(sys.argv[1])
done = 0
print("ready", flush=True)
while done < 25:
    try:
        with writing(session):
            path = session.folder / "count.txt"
            found = int(path.read_text())
            files.write_text(path, str(found + 1))
            done += 1
    except SessionError:
        continue
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return create(tmp_path, "dog")


def left_by(session: Session, age_s: float, **record: object) -> Path:
    """The lock of a writer that last touched it so long ago."""
    path = session.folder / LOCK_NAME
    path.write_text(json.dumps(own_record() | record))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_many_writers_never_lose_a_change(session: Session) -> None:
    (session.folder / "count.txt").write_text("0")
    command = [sys.executable, "-c", ADD_ONE, str(session.folder)]
    children = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [child.wait(120) for child in children] == [0, 0, 0]
    assert (session.folder / "count.txt").read_text() == "75"
    assert not (session.folder / LOCK_NAME).exists()


@pytest.mark.parametrize(
    ("record", "age_s"), [({"host": "another-machine", "pid": 7}, 301), ({"pid": 2**22 + 1}, 0), ({"started": "1"}, 0)]
)
def test_a_stale_lock_is_taken_over_with_a_message(
    session: Session, capsys: pytest.CaptureFixture[str], record: dict[str, object], age_s: float
) -> None:
    left_by(session, age_s, **record)
    with writing(session):
        found = holder(session.folder)
        assert found is not None and found["pid"] == os.getpid()
    said = capsys.readouterr().out
    assert said.startswith("taking over session 'dog': process ")
    assert str(record.get("host", "")) in said
    assert len(said.splitlines()) == 1


def test_a_living_writer_is_not_taken_over(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    left_by(session, 10, host="another-machine", pid=7)
    with pytest.raises(SessionError, match="process 7 on another-machine"), writing(session):
        pass
    assert capsys.readouterr().out == ""


def test_a_second_writer_whose_lock_drive_showed_too_late_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    heard = Event()
    monkeypatch.setattr(lock, "TOUCH_SECONDS", 0.01)
    monkeypatch.setattr(lock.report, "say", lambda line: (said.append(line), heard.set()))
    with writing(session):
        left_by(session, 0, host="another-machine", pid=7)
        assert heard.wait(30)
    assert "ALSO WRITTEN by process 7 on another-machine" in said[0]
    assert len(said) == 1
    assert (session.folder / LOCK_NAME).exists()  # it is the other's


def test_what_a_kill_left_aside_has_its_name_again(session: Session) -> None:
    aside = session.checkpoints / ".unet-000001.partial-aside-"
    aside.mkdir()
    (session.folder / ".dog.ckpt.partial-aside-").write_text("old")
    (session.folder / ".cat.ckpt.partial-aside-").write_text("old")
    (session.folder / "cat.ckpt").write_text("new")
    with writing(session):
        pass
    assert [path.name for path in session.checkpoints.iterdir()] == ["unet-000001"]
    assert [(session.folder / name).read_text() for name in ("dog.ckpt", "cat.ckpt")] == ["old", "new"]


def test_a_clone_of_another_machine_is_another_machine(session: Session) -> None:
    left_by(
        session, 10, boot="another boot", pid=2**22 + 1
    )  # of the same host name: no process here says that it is dead
    with pytest.raises(SessionError, match="is being written by process"), writing(session):
        pass


def test_a_drive_that_never_answers_keeps_no_lock_waiting(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, answered = Event(), Event()

    def is_own(path: Path) -> bool:
        answer.wait(30)
        answered.set()
        return True

    monkeypatch.setattr(lock, "RELEASE_SECONDS", 0.05)
    with writing(session):
        monkeypatch.setattr(lock, "is_own", is_own)
    assert not answered.is_set()
    answer.set()


def test_a_drive_that_is_away_does_not_hide_what_was_done(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    with writing(session):
        monkeypatch.setattr(Path, "unlink", away)
    monkeypatch.undo()
    assert (session.folder / LOCK_NAME).exists()
    with writing(session):  # the lock is our own, of a process that lives: taken up by its owner
        pass
    assert not (session.folder / LOCK_NAME).exists()
