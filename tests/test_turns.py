"""Two machines, one after the other, on one session: each goes on from what the other wrote, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from runs import stopping_at, train

from fsd.data.lock import writing
from fsd.data.session import Session
from fsd.errors import Interrupted, WeightsError
from fsd.runtime import files
from fsd.runtime.spool.local_first import twin, working
from fsd.runtime.spool.spool import Spool
from fsd.runtime.spool.state import LOCAL, WRITTEN
from fsd.runtime.spool.turn import TURN, claim, is_stale
from fsd.weights import checkpoint
from fsd.weights.removable import SURE, free, removable
from fsd.weights.set_aside import taking_turn

Machine = Callable[[str], None]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A function that makes this process the machine of a name, with a local disk of its own; "" has none."""

    def become(name: str) -> None:
        if name:
            monkeypatch.setenv("FSD_LOCAL", str(tmp_path / f"disk of {name}"))
        else:
            monkeypatch.delenv("FSD_LOCAL")

    become("A")
    return become


def save(session: Session, spool: Spool, step: int, text: bytes) -> None:
    def write(folder: Path) -> None:
        (folder / "unet").mkdir()
        (folder / "unet" / "weights.safetensors").write_bytes(text)

    saved = checkpoint.save_checkpoint(working(session.checkpoints), "unet", step, False, {}, write)
    spool.add(f"checkpoints/{saved.name}", keep=1)


def turn(session: Session, step: int, text: bytes, brings: bool = True) -> None:
    """One machine's turn, in which it writes one checkpoint and a CKPT, and brings them to Drive, or cannot."""
    with pytest.MonkeyPatch.context() as patch:
        if not brings:
            patch.setattr(Spool, "work", lambda spool: None)
        with writing(session), taking_turn(session.folder) as spool:
            save(session, spool, step, text)
            ckpt = f"{session.name}.ckpt"
            files.write_bytes(working(session.folder) / ckpt, text)
            spool.add(ckpt)


def newest(session: Session) -> tuple[int, bytes]:
    found = checkpoint.newest_checkpoint(session.checkpoints, "unet", print)
    assert found is not None
    return found.step, (found.folder / "unet" / "weights.safetensors").read_bytes()


def aside(place: Path) -> dict[str, bytes]:
    """What was set aside there: its content by its name."""
    found = [path for path in (place / "set_aside").rglob("*") if path.suffix in (".safetensors", ".ckpt")]
    return {path.relative_to(place / "set_aside").as_posix().partition("/")[2]: path.read_bytes() for path in found}


def test_a_session_that_stays_on_one_machine_is_never_stale(on: Machine, micro_session: Session) -> None:
    for step in (2, 4):
        turn(micro_session, step, b"A", brings=step == 4)
        assert not is_stale(micro_session.folder)
    (micro_session.folder / TURN).unlink()  # as when Drive was lost before it was sent to Google
    assert not is_stale(micro_session.folder)
    assert newest(micro_session) == (4, b"A")


def test_a_session_without_a_twin_has_no_turns(on: Machine, micro_session: Session) -> None:
    on("")
    turn(micro_session, 2, b"plain")
    assert not (micro_session.folder / TURN).exists()


@pytest.mark.parametrize("other", ["B", ""])
@pytest.mark.parametrize("step", [2, 4, 6])
def test_the_other_machines_checkpoint_wins_and_ours_is_kept(
    on: Machine, micro_session: Session, other: str, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    session = micro_session
    turn(session, 4, b"A, never brought", brings=False)
    on(other)
    turn(session, step, b"B")
    on("A")
    assert is_stale(session.folder)
    assert newest(session) == (step, b"B")
    assert [path.parent for path in checkpoint.list_checkpoints(session.checkpoints, "unet")] == [session.checkpoints]
    capsys.readouterr()
    with writing(session), taking_turn(session.folder) as spool:
        assert newest(session) == (step, b"B")
    out = capsys.readouterr().out
    assert "another machine has written to session 'cup'" in out
    assert "checkpoints/unet-000004, cup.ckpt" in out
    assert newest(session) == (step, b"B") and (session.folder / "cup.ckpt").read_bytes() == b"B"
    assert aside(session.folder) == {
        "checkpoints/unet-000004/unet/weights.safetensors": b"A, never brought", "cup.ckpt": b"A, never brought"
    }  # fmt: skip
    assert {item.state for item in spool.items()} == {WRITTEN}
    assert not is_stale(session.folder)
    on("B")
    assert is_stale(session.folder) or other == ""


def test_what_was_set_aside_is_freed_only_when_it_is_named(on: Machine, micro_session: Session) -> None:
    session = micro_session
    turn(session, 4, b"A" * 1000, brings=False)
    on("B")
    turn(session, 6, b"B")
    on("A")
    turn(session, 8, b"A again")
    rows = [row for row in removable(session.folder, print) if row.kind == "aside"]
    assert [row.path.parent for row in rows] == [session.folder / "set_aside"] and rows[0].size_bytes > 4000
    free(rows, SURE)
    assert aside(session.folder)
    local = twin(session.folder)
    assert local and free(rows, ["aside"]) == rows[0].size_bytes
    assert aside(session.folder) == aside(local) == {}
    assert [item.name for item in Spool(session.folder).items()] == ["checkpoints/unet-000008", "cup.ckpt"]


def test_what_drive_has_or_has_left_behind_is_not_kept_twice(
    on: Machine, micro_session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session = micro_session
    turn(session, 4, b"A")
    on("B")
    for step in (6, 8):  # so that Drive no longer has step 4
        turn(session, step, b"B")
    assert not (session.checkpoints / "unet-000004").exists()
    on("A")
    turn(session, 10, b"A again")
    assert aside(session.folder) == {} and "is kept in" not in capsys.readouterr().out
    assert newest(session) == (10, b"A again")
    local = twin(session.checkpoints)
    assert local and [path.name for path in local.iterdir()] == ["unet-000010"]


def test_what_drive_lost_is_kept(on: Machine, micro_session: Session) -> None:
    session = micro_session
    turn(session, 4, b"A")
    files.remove_folder(session.checkpoints / "unet-000004")  # it never reached Google
    on("B")
    turn(session, 2, b"B, from the start")
    on("A")
    turn(session, 4, b"A again")
    assert aside(session.folder) == {"checkpoints/unet-000004/unet/weights.safetensors": b"A"}


def test_a_kill_while_setting_aside_loses_nothing(
    on: Machine, micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = micro_session
    turn(session, 4, b"A", brings=False)
    on("B")
    turn(session, 6, b"B")
    on("A")
    with monkeypatch.context() as patch, writing(session):
        patch.setattr(Spool, "add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError), taking_turn(session.folder):
            pass
    assert is_stale(session.folder) and newest(session) == (6, b"B")
    turn(session, 8, b"A again")
    assert aside(session.folder).keys() == {"checkpoints/unet-000004/unet/weights.safetensors", "cup.ckpt"}


def test_one_asked_for_by_name_is_taken_from_drive_where_ours_is_damaged(on: Machine, micro_session: Session) -> None:
    session, said = micro_session, list[str]()
    turn(session, 4, b"A")
    local = twin(session.checkpoints)
    assert local
    found = checkpoint.named_checkpoint(session.checkpoints, "unet-000004", said.append)
    assert found and found.folder.parent == local and said == []
    (local / "unet-000004" / "unet" / "weights.safetensors").write_bytes(b"")
    found = checkpoint.named_checkpoint(session.checkpoints, "unet-000004", said.append)
    assert found and found.folder.parent == session.checkpoints
    assert "is damaged" in said[0] and str(session.checkpoints) in said[0]
    (session.checkpoints / "unet-000004" / "unet" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="is damaged"):
        checkpoint.named_checkpoint(session.checkpoints, "unet-000004", print)
    assert checkpoint.named_checkpoint(session.checkpoints, "unet-000006", print) is None


def test_training_goes_on_from_the_other_machines_fork(
    on: Machine, micro_session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = micro_session
    with stopping_at(3), pytest.raises(Interrupted):
        train(session, "unet")
    brings = Spool.work
    monkeypatch.setattr(Spool, "work", lambda spool: None)  # Drive is away
    with stopping_at(5), pytest.raises(Interrupted):
        train(session, "unet")
    monkeypatch.setattr(Spool, "work", brings)
    on("B")
    session.save_recipe(session.recipe().changed(unet__learning_rate=5e-4))
    with stopping_at(5), pytest.raises(Interrupted):
        train(session, "unet", "--fork")
    forked = (session.checkpoints / "unet-000006" / "checkpoint.json").read_bytes()
    log = (session.logs / "metrics.jsonl").read_bytes()
    on("A")
    capsys.readouterr()
    AcceleratorState._reset_state(reset_partial_state=True)
    assert train(session, "unet")["from_step"] == 6
    assert "is kept in" in capsys.readouterr().out
    assert (session.checkpoints / "unet-000006" / "checkpoint.json").read_bytes() == forked
    assert (session.logs / "metrics.jsonl").read_bytes().startswith(log)
    assert newest_step(session) == 8
    kept = next((session.folder / "set_aside").glob("*/checkpoints/unet-000006"))
    assert checkpoint.verify_checkpoint(kept).facts["run"]["unet.learning_rate"] != 5e-4


def newest_step(session: Session) -> int:
    found = checkpoint.newest_checkpoint(session.checkpoints, "unet", print)
    return found.step if found else 0


def test_a_machine_that_slept_through_anothers_turn_brings_nothing_over_it(on: Machine, micro_session: Session) -> None:
    session = micro_session
    turn(session, 4, b"A, never brought", brings=False)
    asleep = Spool(session.folder, pause=lambda _: None)
    on("B")
    turn(session, 4, b"B")
    on("A")
    asleep.work()
    assert {(item.state, item.why) for item in asleep.items()} == {
        (LOCAL, "another machine has written to the session since")
    }
    assert (session.folder / "cup.ckpt").read_bytes() == b"B"
    assert aside(session.folder) == {}


def test_a_turn_that_drive_does_not_take_stops_nobody(
    on: Machine, micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn(micro_session, 2, b"A")
    write = files.write_json

    def full(path: Path, value: object) -> None:
        if path == micro_session.folder / TURN:
            raise OSError(28, "No space left on device")
        write(path, value)

    monkeypatch.setattr(files, "write_json", full)
    claim(micro_session.folder)
    assert not is_stale(micro_session.folder)
