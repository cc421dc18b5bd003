"""Drive as a folder: its places by name, its states, its death; nothing is made where it is not mounted."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from fsd.data.session import create
from fsd.errors import MachineError
from fsd.runtime import colab, drive, files
from fsd.runtime.spool import deliver, heartbeat
from fsd.runtime.spool.heartbeat import MARK, Heartbeat
from fsd.weights import checkpoint


@pytest.fixture
def mount_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Colab with an empty folder where Drive would be; mounting makes My Drive and two shared drives."""
    monkeypatch.delenv("FSD_HOME", raising=False)
    place = tmp_path / "drive"
    place.mkdir()

    def mount(at: Path, force: bool) -> None:
        for name in ("MyDrive", "Shareddrives/Team photos", "Shareddrives/Other"):
            (at / name).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(colab, "MOUNT_POINT", place)
    monkeypatch.setattr(colab, "in_colab", lambda: True)
    monkeypatch.setattr(colab, "mount_drive", mount)
    return place


def test_nothing_is_made_where_drive_is_not_mounted(mount_point: Path) -> None:
    root = mount_point / "MyDrive"
    (here := mount_point.with_name("here.txt")).write_text("whole")
    attempts = [
        lambda: deliver.deliver(here, root / "dog" / "here.txt", lambda _: None),
        lambda: create(root, "dog"),
        lambda: files.write_json(root / "a" / "b.json", 1),
        lambda: checkpoint.save_checkpoint(root / "checkpoints", "unet", 1, False, {}, lambda folder: None),
    ]
    for attempt in attempts:
        with pytest.raises(MachineError, match="Google Drive is not mounted") as caught:
            attempt()
        assert "Open session" in caught.value.hint
    assert list(mount_point.iterdir()) == []
    drive.mount()
    assert create(root, "dog").folder.is_dir()


@pytest.mark.parametrize(
    ("named", "inner"),
    [
        ("My Drive", "MyDrive"),
        ("My Drive/models/a", "MyDrive/models/a"),
        ("MyDrive/models", "MyDrive/models"),
        ("Shared drives/Team photos/dogs", "Shareddrives/Team photos/dogs"),
        ("shared drives/team PHOTOS", "Shareddrives/Team photos"),
    ],
)
def test_a_place_is_named_as_in_drives_page(mount_point: Path, named: str, inner: str) -> None:
    assert drive.place(named) == mount_point / inner


def test_an_unknown_shared_drive_is_answered_with_those_there_are(mount_point: Path) -> None:
    with pytest.raises(MachineError, match="no shared drive 'Team'") as caught:
        drive.place("Shared drives/Team")
    assert caught.value.hint == "there are: Other, Team photos"


@pytest.mark.parametrize("named", ["MyDrive", "My Drive", "My Drive/x", "mydrive/x/y", "Shared drives/Team photos"])
def test_a_place_on_drive_is_refused_where_only_colab_could_mount_it(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSD_HOME", named)
    for ask in (lambda: drive.place(named), drive.home):
        with pytest.raises(MachineError, match="which only Colab mounts") as caught:
            ask()
        assert f"if {Path(named).parts[0]!r} is to be one, make it first" in caught.value.hint
    Path(Path(named).parts[0]).mkdir()
    assert drive.place(named) == drive.home() == Path(named)


def test_other_paths_are_paths(mount_point: Path, tmp_path: Path) -> None:
    assert drive.place(str(tmp_path)) == tmp_path
    assert drive.place("work/My Drive") == Path("work/My Drive")
    assert list(mount_point.iterdir()) == []


def test_a_read_only_drive_is_one_clear_error(mount_point: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive.mount()
    forced: list[bool] = []
    monkeypatch.setattr(colab, "mount_drive", lambda at, force: forced.append(force))
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(MachineError, match="nothing can be written to it"):
        drive.mount()
    assert forced == [True]


def test_a_mount_that_never_answers_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Event()
    monkeypatch.setattr(os, "statvfs", lambda path: answer.wait(30))
    assert "has not answered" in drive.state(tmp_path, timeout_s=0.05)
    answer.set()


def test_temporary_storage_is_said_loudly_and_once(
    mount_point: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FSD_HOME", str(tmp_path / "here"))
    assert drive.home() == drive.home() == tmp_path / "here"
    said = capsys.readouterr().out
    assert said.count("TEMPORARY STORAGE") == 1
    assert "LOST" in said
    monkeypatch.setenv("FSD_HOME", str(mount_point / "MyDrive" / "work"))
    drive.home()
    assert capsys.readouterr().out == ""


# --- its heartbeat -----------------------------------------------------------------------------------------------------


def test_a_drive_that_answers_is_alive(tmp_path: Path) -> None:
    beat = Heartbeat(tmp_path)
    assert [beat.fault(), beat.fault()] == ["", ""]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (errno.ENOTCONN, "Transport endpoint is not connected"),
        (errno.EIO, "Input/output error"),
        (errno.ENOSPC, ""),
        (errno.EDQUOT, ""),
    ],
)
def test_what_a_drive_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fault: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(heartbeat, "_write", fail)
    assert Heartbeat(tmp_path).fault() == fault


def test_stale_reads_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / MARK).write_text("of yesterday")
    monkeypatch.setattr(heartbeat, "_write", lambda mark, beat: None)
    assert Heartbeat(tmp_path).fault() == "what is read there is stale"


def test_drive_does_not_keep_a_version_for_every_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beat, mark = Heartbeat(tmp_path), tmp_path / MARK
    assert beat.fault() == ""
    first, inode = mark.read_text(), mark.stat().st_ino
    assert [beat.fault() for _ in range(3)] == [""] * 3
    assert mark.read_text() == first
    monkeypatch.setattr(heartbeat, "WRITE_S", 0)
    assert beat.fault() == ""
    assert mark.read_text() != first
    assert mark.stat().st_ino == inode  # written in its place: what is replaced fills Drive's bin


def test_two_processes_on_one_drive_do_not_call_each_other_stale(tmp_path: Path) -> None:
    first, second = Heartbeat(tmp_path), Heartbeat(tmp_path)
    assert [first.fault(), second.fault(), first.fault(), second.fault()] == [""] * 4


def test_a_drive_that_never_answers_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = Event(), []
    monkeypatch.setattr(heartbeat, "_write", lambda mark, beat: asked.append(beat) or answer.wait(30))
    beat = Heartbeat(tmp_path, timeout_s=0.05)
    assert "has not answered" in beat.fault()
    assert "has not answered" in beat.fault()
    assert len(asked) == 1  # one thread waits, not one a beat
    monkeypatch.undo()
    answer.set()
    beat._patience.limit_s = 10
    assert beat.fault() == ""


def test_an_unmounted_drive_is_dead(tmp_path: Path) -> None:
    assert "there is no folder" in Heartbeat(tmp_path / "gone").fault()
