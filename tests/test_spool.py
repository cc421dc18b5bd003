"""The way to Drive: states that are true, that outlive the process, and that nothing runs ahead of."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from fsd.errors import MachineError, WeightsError
from fsd.runtime.spool import aside, deliver, safe
from fsd.runtime.spool.local_first import brought, forget, twin, working
from fsd.runtime.spool.spool import Spool
from fsd.runtime.spool.state import CONFIRMED, LOCAL, STATE, WRITTEN, SpoolState
from fsd.weights import checkpoint

ROOT = Path(__file__).parents[1]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session's folder on a Drive, with a local twin."""
    monkeypatch.setenv("FSD_LOCAL", str(tmp_path / "local"))
    folder = tmp_path / "drive" / "dog"
    folder.mkdir(parents=True)
    return folder


def spool_of(session: Path, **options: object) -> Spool:
    return Spool(session, pause=lambda _: None, **options)  # type: ignore[arg-type]


def save(session: Path, step: int, text: bytes = b"weights") -> str:
    """A checkpoint in the local twin; its name in the session."""

    def write(folder: Path) -> None:
        (folder / "unet").mkdir()
        (folder / "unet" / "weights.safetensors").write_bytes(text * step)

    saved = checkpoint.save_checkpoint(working(session / "checkpoints"), "unet", step, False, {}, write)
    return f"checkpoints/{saved.name}"


def states(spool: Spool) -> dict[str, str]:
    return {Path(item.name).name: item.state for item in spool.items()}


def test_a_session_on_an_ordinary_disk_has_no_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSD_LOCAL", raising=False)
    spool = spool_of(tmp_path)
    spool.add("a")
    assert twin(tmp_path) is None and working(tmp_path) == tmp_path and brought(tmp_path / "a") == tmp_path / "a"
    assert (spool.items(), spool.highest, safe.wait(spool)) == ([], LOCAL, LOCAL)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MachineError, match="would be lost"):
        safe.disconnect(spool, end=lambda: pytest.fail("given back"))


def test_what_is_added_comes_to_drive_and_says_so(session: Path) -> None:
    spool = spool_of(session)
    spool.add(save(session, 1))
    assert states(spool) == {"unet-000001": LOCAL}
    assert not (session / "checkpoints").exists()
    spool.work()
    assert states(spool_of(session)) == {"unet-000001": WRITTEN}  # as another process sees it
    assert checkpoint.verify_checkpoint(session / "checkpoints" / "unet-000001").step == 1
    assert "written to Drive" in safe.as_text(spool)


def test_a_single_file_replaces_another(session: Path) -> None:
    (session / "dog.safetensors").write_bytes(b"old")
    spool = spool_of(session)
    assert spool.local is not None
    spool.local.mkdir(parents=True)
    (spool.local / "dog.safetensors").write_bytes(b"new one")
    spool.add("dog.safetensors")
    assert safe.wait(spool) == WRITTEN
    assert (session / "dog.safetensors").read_bytes() == b"new one"


def test_google_has_the_last_word(session: Path) -> None:
    known: set[str] = set()
    spool = spool_of(session, confirm=lambda path, md5: path.name in known)
    spool.add(save(session, 1))
    spool.work()
    assert states(spool) == {"unet-000001": WRITTEN}
    assert spool.items()[0].why.startswith("Google has not yet all of ")
    known |= {"checkpoint.json", "weights.safetensors"}
    assert safe.wait(spool) == CONFIRMED


def test_the_older_go_only_once_the_newer_is_safe(session: Path) -> None:
    known: set[str] = set()
    unsure = spool_of(session)
    for step in (1, 2, 3):
        unsure.add(save(session, step), keep=1)
        unsure.work()
    on_drive = session / "checkpoints"
    assert sorted(path.name for path in on_drive.iterdir()) == ["unet-000002", "unet-000003"]  # one more, unconfirmed
    sure = spool_of(session, confirm=lambda path, md5: path.parts[-2] in known or path.parts[-3] in known)
    sure.add(save(session, 4), keep=1)
    sure.work()
    assert len(list(on_drive.iterdir())) == 3
    known.add("unet-000004")
    sure.work()
    assert [path.name for path in on_drive.iterdir()] == ["unet-000004"]


def test_what_is_superseded_is_not_sent(session: Path) -> None:
    spool = spool_of(session)
    for step in (1, 2):
        spool.add(save(session, step), keep=1)
    checkpoint.prune(working(session / "checkpoints"), "unet", 1)
    spool.work()
    assert states(spool) == {"unet-000002": WRITTEN}
    assert [path.name for path in (session / "checkpoints").iterdir()] == ["unet-000002"]


def test_a_dead_drive_is_waited_for_and_caught_up_with(
    session: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = session.with_name("away")
    session.rename(away)
    tries: list[int] = []

    def remount() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise MachineError("only a notebook cell can mount Drive", "")
        away.rename(session)

    spool = spool_of(session, remount=remount)
    for step in (1, 2):
        spool.add(save(session, step))
        spool.work()
    assert states(spool) == {"unet-000001": LOCAL, "unet-000002": LOCAL}
    assert "there is no folder" in spool.items()[0].why
    spool.work()
    assert states(spool) == {"unet-000001": WRITTEN, "unet-000002": WRITTEN}
    said = capsys.readouterr().out
    assert said.count("Drive is away") == 1
    assert not session.with_name("dog-gone").exists()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), OSError(5, "Input/output error")])
def test_what_drive_does_not_take_stays_local_and_says_why(
    session: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    def fail(*_: object) -> None:
        raise fault

    spool = spool_of(session)
    spool.add(save(session, 1))
    with monkeypatch.context() as patch:
        patch.setattr(deliver, "_copy", fail)
        with pytest.raises(MachineError, match=rf"1 of 1 are not yet written to Drive.*{fault.strerror}") as caught:
            safe.wait(spool, timeout_s=0)
        assert "do not end this machine" in caught.value.hint
    assert states(spool) == {"unet-000001": LOCAL}
    assert [path for path in (session / "checkpoints").rglob("*") if path.is_file()] == []
    assert safe.wait(spool) == WRITTEN


def test_a_kill_in_the_middle_goes_on_in_the_next_process(session: Path) -> None:
    spool_of(session).add(save(session, 1))
    code = "import sys, os, signal\nfrom pathlib import Path\nfrom fsd.runtime.spool import deliver, spool\n"
    code += "deliver._settled = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nspool.Spool(Path(sys.argv[1])).work()"
    child = subprocess.run([sys.executable, "-c", code, str(session)], cwd=ROOT)
    assert child.returncode == -9
    spool = spool_of(session)
    assert states(spool) == {"unet-000001": LOCAL}  # nothing is called written before it was read back
    assert safe.wait(spool) == WRITTEN


def test_one_worker_at_a_time(session: Path) -> None:
    first, second = spool_of(session), spool_of(session)
    first.add(save(session, 1))
    with first._state.locked("work"):
        second.work()
        assert states(second) == {"unet-000001": LOCAL}
    second.work()
    assert states(second) == {"unet-000001": WRITTEN}


def test_saved_again_under_the_same_name_is_sent_again(session: Path) -> None:
    spool = spool_of(session)
    spool.add(save(session, 1))
    spool.work()
    spool.add(save(session, 1, b"other weights"))
    assert states(spool) == {"unet-000001": LOCAL}
    spool.work()
    weights = session / "checkpoints" / "unet-000001" / "unet" / "weights.safetensors"
    assert weights.read_bytes() == b"other weights"
    assert [path.name for path in (session / "checkpoints").iterdir()] == ["unet-000001"]


def test_it_works_in_the_background_until_it_is_stopped(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Event()
    became: Callable[..., object] = SpoolState.became

    def seen(self: SpoolState, then: object, now: object) -> object:
        result = became(self, then, now)
        written.set()
        return result

    monkeypatch.setattr(SpoolState, "became", seen)
    spool = Spool(session).start()
    spool.add(save(session, 1))
    assert written.wait(30)
    spool.stop()
    assert states(spool) == {"unet-000001": WRITTEN}
    spool.add(save(session, 2))
    assert states(spool)["unet-000002"] == LOCAL


# --- giving the machine back ----------------------------------------------------------------------------------------------


def test_the_machine_is_given_back_only_at_the_highest_level(session: Path) -> None:
    done: list[str] = []
    arguments = {"flush": lambda timeout_s: done.append("flush"), "end": lambda: done.append("end")}
    waiting = spool_of(session, confirm=lambda path, md5: False)
    waiting.add(save(session, 1))
    with pytest.raises(MachineError, match="not yet confirmed by Google"):
        safe.disconnect(waiting, timeout_s=0, **arguments)
    assert done == []
    safe.disconnect(spool_of(session, confirm=lambda path, md5: True), **arguments)
    assert done == ["flush", "end"]
    safe.disconnect(spool_of(session), **arguments)
    assert done == ["flush", "end"] * 2


def test_a_drive_that_cannot_send_keeps_the_machine(session: Path) -> None:
    def fail(timeout_s: float) -> None:
        raise ValueError("flush_and_unmount failed")

    with pytest.raises(MachineError, match="flush_and_unmount failed"):
        safe.disconnect(spool_of(session), flush=fail, end=lambda: pytest.fail("given back"))


# --- two places ---------------------------------------------------------------------------------------------------------


def test_the_newest_whole_one_of_both_places_is_gone_on_from(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = spool_of(session)
    for step in (1, 2):
        spool.add(save(session, step))
    spool.work()
    save(session, 3)
    checkpoints, local = session / "checkpoints", working(session / "checkpoints")
    newest = checkpoint.newest_checkpoint(checkpoints, "unet", print)
    assert newest is not None and newest.folder == local / "unet-000003"
    assert [path.parent for path in checkpoint.list_checkpoints(checkpoints, "unet")] == [local] * 3
    (local / "unet-000003" / "unet" / "weights.safetensors").write_bytes(b"")
    (local / "unet-000002" / "unet" / "weights.safetensors").write_bytes(b"")
    newest = checkpoint.newest_checkpoint(checkpoints, "unet", print)
    assert newest is not None and newest.folder == checkpoints / "unet-000002"  # Drive's copy of the same step
    with pytest.raises(WeightsError):
        checkpoint.verify_checkpoint(local / "unet-000002")


def test_a_log_is_gone_on_with_where_it_is_newest(session: Path) -> None:
    log = session / "metrics.jsonl"
    log.write_text("of another machine")
    local = brought(log)
    assert local.read_text() == "of another machine"
    local.write_text("longer here")
    os.utime(local, (log.stat().st_mtime + 5,) * 2)
    assert brought(log).read_text() == "longer here"
    os.utime(log, (local.stat().st_mtime + 5,) * 2)
    assert brought(log).read_text() == "of another machine"


def test_a_log_is_never_shortened_by_its_own_copy_on_drive(session: Path) -> None:
    log = session / "metrics.jsonl"
    log.write_text("1\n")
    local = brought(log)
    local.write_text("1\n2\n")
    os.utime(log, (local.stat().st_mtime + 60,) * 2)  # Drive's time is that of the copying, or Google's own
    assert brought(log).read_text() == "1\n2\n"
    log.write_text("1\n2\n3\n")
    os.utime(log, (local.stat().st_mtime - 60,) * 2)
    assert brought(log).read_text() == "1\n2\n3\n"


def test_a_session_made_anew_knows_nothing_of_the_one_before(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool_of(session).add(save(session, 1))
    assert forget(session) == 0
    assert checkpoint.newest_checkpoint(session / "checkpoints", "unet", print) is None
    assert spool_of(session).items() == []
    (kept,) = working(session).parent.glob("dog.*")  # it had not come to Drive
    assert f"is kept in {kept}: checkpoints/unet-000001" in capsys.readouterr().out
    assert checkpoint.verify_checkpoint(kept / "checkpoints" / "unet-000001").step == 1
    spool_of(session).add(save(session, 2))
    assert safe.wait(spool_of(session)) == WRITTEN
    assert forget(session) > 0
    assert not working(session).exists()


def test_a_stage_leaves_nothing_behind_on_the_local_disk_alone(
    session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        with safe.spooling(session) as spool:
            spool.add(save(session, 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert states(spool_of(session)) == {"unet-000001": WRITTEN}
    session.rename(session.with_name("away"))
    with safe.spooling(session) as spool:
        spool.add(save(session, 2))
    assert states(spool) == {"unet-000001": WRITTEN, "unet-000002": LOCAL}
    assert "NOT YET ON DRIVE, only on this machine's disk: checkpoints/unet-000002" in capsys.readouterr().out
    session.with_name("away").rename(session)
    assert safe.bring(safe.spool_of(session))
    assert states(spool)["unet-000002"] == WRITTEN


# --- a Drive that never answers -------------------------------------------------------------------------------------------


@pytest.fixture
def dead(session: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """From the copying on, Drive does not answer until the event is set."""
    answers, copy = Event(), deliver._copy

    def hang(*arguments: Any) -> Any:
        answers.wait(60)
        return copy(*arguments)

    monkeypatch.setattr(deliver, "_copy", hang)
    monkeypatch.setattr("fsd.runtime.spool.spool.STUCK_S", 0.1)
    yield answers
    answers.set()


def test_a_drive_that_never_answers_holds_no_verb_up(
    session: Path, dead: Event, capsys: pytest.CaptureFixture[str]
) -> None:
    with safe.spooling(session) as spool:
        spool.add(save(session, 1))
    assert not safe.bring(safe.spool_of(session))
    assert "NOT YET ON DRIVE, only on this machine's disk: checkpoints/unet-000001" in capsys.readouterr().out
    with pytest.raises(MachineError, match="1 of 1 are not yet written to Drive"):
        safe.wait(spool, timeout_s=0)
    with pytest.raises(MachineError, match="1 of 1 are not yet written to Drive"):
        safe.disconnect(
            spool, 0, lambda timeout_s: pytest.fail("not all is written"), lambda: pytest.fail("given back")
        )
    assert "has not answered for" in spool.items()[0].why
    dead.set()
    spool._patience.limit_s = 30
    assert safe.wait(spool) == WRITTEN  # the piece that was given up on ends first: two never copy at once


def test_training_goes_on_beside_a_drive_that_never_answers(session: Path, dead: Event) -> None:
    spool = Spool(session).start()
    for step in (1, 2, 3):
        spool.add(save(session, step))
    spool.stop()
    assert list(states(spool).values()) == [LOCAL] * 3


# --- what is called written is there ----------------------------------------------------------------------------------------


def test_a_list_that_cannot_be_read_calls_nothing_safe(session: Path) -> None:
    spool = spool_of(session)
    assert spool.local is not None
    spool.add(save(session, 1))
    (spool.local / "dog.safetensors").write_bytes(b"weights")
    spool.add("dog.safetensors")
    assert safe.wait(spool) == WRITTEN
    for text in ("", "[{", '[{"name": "dog.safetensors", "stamp": "1", "state": "written to Drive", "younger": 1}]'):
        (spool.local / STATE).write_text(text)
        assert states(spool_of(session)) == {"unet-000001": LOCAL, "dog.safetensors": LOCAL}
    session.rename(session.with_name("away"))
    with pytest.raises(MachineError, match="2 of 2 are not yet"):
        safe.wait(spool_of(session), timeout_s=0)
    session.with_name("away").rename(session)
    assert safe.wait(spool_of(session)) == WRITTEN


def test_what_drive_lost_is_copied_again(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = spool_of(session)
    spool.add(save(session, 1))
    spool.work()
    weights = session / "checkpoints" / "unet-000001" / "unet" / "weights.safetensors"
    os.truncate(weights, 0)
    assert safe.wait(spool_of(session)) == WRITTEN  # as the next process does it
    assert weights.read_bytes() == b"weights"
    assert "unet-000001 is no longer on Drive as it was written there" in capsys.readouterr().out
    session.rename(session.with_name("away"))  # a mount dies and comes back empty
    session.mkdir()
    assert safe.wait(spool_of(session)) == WRITTEN
    assert weights.is_file()


def test_what_was_freed_on_purpose_stays_away(session: Path) -> None:
    spool = spool_of(session)
    for step in (1, 2):
        spool.add(save(session, step))
    spool.work()
    checkpoint.discard(session / "checkpoints" / "unet-000001")
    assert safe.wait(spool_of(session)) == WRITTEN
    assert states(spool) == {"unet-000002": WRITTEN}
    checkpoint.discard(session / "checkpoints" / "unet-000002")
    checkpoint.discard(working(session / "checkpoints") / "unet-000002")
    assert states(spool_of(session)) == {"unet-000002": WRITTEN}
    spool_of(session).work()
    assert spool.items() == []


def test_a_drive_that_is_away_confirms_nothing(session: Path) -> None:
    spool = spool_of(session)
    spool.add(save(session, 1))
    assert safe.wait(spool) == WRITTEN
    session.rename(session.with_name("away"))
    with pytest.raises(MachineError, match="cannot be looked for"):
        safe.disconnect(
            spool_of(session), 0, lambda timeout_s: pytest.fail("flushed"), lambda: pytest.fail("given back")
        )


def test_a_damaged_checkpoint_is_not_sent_and_retires_nothing(session: Path) -> None:
    spool = spool_of(session)
    for step in (1, 2):
        spool.add(save(session, step), keep=1)
        spool.work()
    spool.add(save(session, 3), keep=1)
    (working(session / "checkpoints") / "unet-000003" / "optimizer.safetensors").unlink(missing_ok=True)
    (working(session / "checkpoints") / "unet-000003" / "unet" / "weights.safetensors").write_bytes(
        b"weightsweights\0eights"
    )
    spool.work()
    assert states(spool)["unet-000003"] == LOCAL
    assert "damaged on this machine's disk (unet/weights.safetensors)" in spool.items()[-1].why
    assert sorted(path.name for path in (session / "checkpoints").iterdir()) == ["unet-000001", "unet-000002"]


def test_a_damaged_one_on_drive_does_not_count_as_kept(session: Path) -> None:
    spool = spool_of(session)
    for step in (1, 2):
        spool.add(save(session, step), keep=1)
        spool.work()
    on_drive = session / "checkpoints"
    os.truncate(on_drive / "unet-000002" / "unet" / "weights.safetensors", 0)
    spool.add(save(session, 3), keep=1)
    spool.work()
    assert sorted(path.name for path in on_drive.iterdir()) == ["unet-000001", "unet-000003"]
    os.truncate(on_drive / "unet-000001" / "unet" / "weights.safetensors", 0)
    os.truncate(on_drive / "unet-000003" / "unet" / "weights.safetensors", 0)
    spool.add(save(session, 4), keep=1)
    spool.work()
    assert sorted(path.name for path in on_drive.iterdir()) == ["unet-000001", "unet-000003", "unet-000004"]


def test_a_kill_between_the_two_renames_loses_nothing(session: Path) -> None:
    spool = spool_of(session, confirm=lambda path, md5: True)
    spool.add(save(session, 1), keep=1)
    assert safe.wait(spool) == CONFIRMED
    spool.add(save(session, 1, b"other weights"), keep=1)
    code = "import sys, os, signal\nfrom pathlib import Path\nfrom fsd.runtime.spool import spool\n"
    code += "os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL) if 'drive' in str(b) and os.path.isdir(a)"
    code += " else os.rename(a, b)\nspool.Spool(Path(sys.argv[1])).work()"
    assert subprocess.run([sys.executable, "-c", code, str(session)], cwd=ROOT).returncode == -9
    on_drive = session / "checkpoints"
    assert not (on_drive / "unet-000001").exists()
    aside.put_all_back(on_drive)  # as the next delivery from any machine does first
    assert checkpoint.verify_checkpoint(on_drive / "unet-000001").step == 1
    assert safe.wait(spool_of(session)) == WRITTEN
    assert (on_drive / "unet-000001" / "unet" / "weights.safetensors").read_bytes() == b"other weights"
    assert [path.name for path in on_drive.iterdir()] == ["unet-000001"]


def test_a_log_that_grows_while_it_is_copied_is_sent_as_it_was_read(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_of(session)
    assert spool.local is not None
    log = spool.local / "metrics.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("1\n")
    (session / "metrics.jsonl").write_text("0\n")
    spool.add("metrics.jsonl")
    put = deliver._put
    monkeypatch.setattr(deliver, "_put", lambda *of: (log.write_text("1\n2\n"), put(*of))[1])
    spool.work()
    assert states(spool) == {"metrics.jsonl": WRITTEN}
    assert (session / "metrics.jsonl").read_text() == "1\n2\n"


def test_a_full_drive_is_said_with_what_to_do(
    session: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sync = os.fsync

    def full(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(session)):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        sync(descriptor)

    spool = spool_of(session)
    spool.add(save(session, 1))
    monkeypatch.setattr(os, "fsync", full)
    assert not safe.bring(spool)
    said = capsys.readouterr().out
    assert "Disk quota exceeded. What to do: run fsd clean-session, and empty Drive's bin" in said
