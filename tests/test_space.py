"""Room before a stage, and what can go to make it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from micro import make_folder

from fsd.errors import MachineError
from fsd.runtime import colab, space
from fsd.runtime.space import Need, need_room
from fsd.runtime.spool.local_first import working
from fsd.runtime.spool.spool import Spool
from fsd.weights import checkpoint
from fsd.weights.removable import KINDS, SURE, free, removable
from fsd.weights.sizes import checkpoint_bytes, checkpoint_needs, parameters


def free_bytes(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    monkeypatch.setattr(space.shutil, "disk_usage", lambda place: SimpleNamespace(free=size_bytes, total=10**12))


def test_room_enough_is_not_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes(monkeypatch, 10**9)
    need_room([Need("checkpoints", tmp_path / "not yet" / "there", 5 * 10**8), Need("nothing", Path("/gone"), 0)])
    assert not (tmp_path / "not yet").exists()


def test_what_is_to_come_is_added_up_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes(monkeypatch, 10**9)
    needs = [Need("two checkpoints", tmp_path / "a", 6 * 10**8), Need("one CKPT", tmp_path / "b", 6 * 10**8)]
    with pytest.raises(MachineError) as caught:
        need_room(needs)
    assert "1.00 GB are free" in caught.value.message
    assert "two checkpoints 600.0 MB, one CKPT 600.0 MB" in caught.value.message
    assert "bin" not in caught.value.hint


def test_a_drive_that_does_not_tell_its_room_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*_: object) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(space.shutil, "disk_usage", lambda place: SimpleNamespace(free=0, total=0))
    need_room([Need("checkpoints", tmp_path, 1)])
    monkeypatch.setattr(space, "_existing", away)
    need_room([Need("checkpoints", Path("/"), 1)])
    assert "room for checkpoints in / cannot be told: Transport endpoint" in capsys.readouterr().out


def test_on_drive_its_bin_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes(monkeypatch, 0)
    monkeypatch.setattr(colab, "MOUNT_POINT", tmp_path)
    with pytest.raises(MachineError, match="Google Drive") as caught:
        need_room([Need("checkpoints", tmp_path / "MyDrive", 1)])
    assert "empty Drive's bin, which counts too" in caught.value.hint


def test_a_checkpoints_size_is_told_before_it_is_written(tmp_path: Path) -> None:
    import torch
    from diffusers import UNet2DConditionModel

    base = make_folder(tmp_path / "model")
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    count = sum(weight.numel() for weight in unet.parameters())
    assert parameters(base / "unet") == count
    optimizer = torch.optim.AdamW(unet.parameters())
    sum(weight.sum() for weight in unet.parameters()).backward()
    optimizer.step()
    moments = sum(value.nbytes for row in optimizer.state.values() for value in row.values() if value.numel() > 1)
    told = checkpoint_bytes(count, "adamw")
    assert told == pytest.approx(moments + 4 * count, rel=0.01)
    assert checkpoint_bytes(count, "adamw8bit") < told
    assert checkpoint_bytes(count, "adamw", average=True) == told + 4 * count


# --- what can go -------------------------------------------------------------------------------------------------------


KEPT = (("photos_aside/instance_images/b.png", 700), ("originals/instance_images/a-0123.png", 800))
"""What somebody set aside or turned: it goes only when it is named."""


def save(checkpoints: Path, step: int, done: bool = False) -> None:
    def write(folder: Path) -> None:
        (folder / "unet").mkdir()
        (folder / "unet" / "weights.safetensors").write_bytes(b"w" * 1000 * step)
        (folder / "optimizer.safetensors").write_bytes(b"o" * 500)

    checkpoint.save_checkpoint(checkpoints, "unet", step, done, {}, write)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session's folder with something of each kind that can go."""
    monkeypatch.setenv("FSD_LOCAL", str(tmp_path / "local"))
    folder = tmp_path / "Fast-Dreambooth" / "Sessions" / "dog"
    checkpoints = folder / "checkpoints"
    for step in (1, 2, 3):
        save(checkpoints, step, done=step == 3)
    for name, size in (("cache/latents", 9000), (".dog.ckpt.partial-1", 300), ("instance_images/a.png", 10), *KEPT):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    gone = folder.parent.parent / "bin" / "cat-20260101" / "cat.ckpt"
    gone.parent.mkdir(parents=True)
    gone.write_bytes(b"x" * 50_000)
    save(working(checkpoints), 3)
    spool = Spool(folder, confirm=lambda path, md5: True, pause=lambda _: None)
    spool.add("checkpoints/unet-000003")
    return folder


def test_what_can_go_is_listed_by_size(session: Path) -> None:
    rows = removable(session, print)
    assert [row.size_bytes for row in rows] == sorted((row.size_bytes for row in rows), reverse=True)
    sure, named = {"cache", "checkpoints", "leftovers", "optimizer"}, {"bin", "photos_aside", "originals"}
    assert {row.kind for row in rows} == sure | named <= KINDS.keys()
    assert rows[0].kind == "bin" and rows[1].kind == "cache"
    assert {row.path.name for row in rows if row.kind == "checkpoints"} == {"unet-000001", "unet-000002"}


def test_listing_frees_nothing_and_freeing_leaves_what_trains_on(session: Path) -> None:
    before = sorted(session.rglob("*"))
    rows = removable(session, print)
    assert sorted(session.rglob("*")) == before
    freed = free(rows, SURE)
    assert freed == sum(row.size_bytes for row in rows if row.kind in SURE)
    assert [row.kind for row in removable(session, print)] == ["bin", "originals", "photos_aside"]
    newest = checkpoint.newest_checkpoint(session / "checkpoints", "unet", print)
    assert newest is not None and newest.step == 3
    assert (session / "instance_images" / "a.png").exists()
    assert free(removable(session, print), ["bin"]) == 50_000
    assert free(removable(session, print), ["photos_aside", "originals"]) == 1500 and not removable(session, print)


def test_local_copies_go_only_as_far_as_google_has_them(session: Path) -> None:
    assert not {"local", "unconfirmed"} & {row.kind for row in removable(session, print)}  # local: the only copy
    Spool(session, pause=lambda _: None).work()
    assert "unconfirmed" in {row.kind for row in removable(session, print)} - set(SURE)
    Spool(session, confirm=lambda path, md5: True, pause=lambda _: None).work()
    assert "local" in {row.kind for row in removable(session, print)}


def test_nothing_is_said_any_more_of_what_was_freed(session: Path) -> None:
    spool = Spool(session, confirm=lambda path, md5: False, pause=lambda _: None)
    local = working(session / "checkpoints")
    for step in (1, 3):
        save(local, step, done=step == 3)
        spool.add(f"checkpoints/unet-00000{step}")
    spool.work()
    free(removable(session, print), SURE)
    assert spool.items() == []  # unet-000001 is gone, unet-000003 has no optimizer state any more


def test_the_only_whole_one_stays(session: Path) -> None:
    for step in (2, 3):
        (session / "checkpoints" / f"unet-00000{step}" / "checkpoint.json").write_text(json.dumps({}))
    said: list[str] = []
    rows = removable(session, said.append)
    assert {row.path.name for row in rows if row.kind == "checkpoints"} == {"unet-000002", "unet-000003"}
    assert len(said) == 2


def test_checkpoints_that_are_there_are_not_counted_twice(session: Path) -> None:
    checkpoints = session / "checkpoints"
    there = sum(path.stat().st_size for path in checkpoints.rglob("*") if path.is_file())
    on_drive, local = checkpoint_needs(checkpoints, "unet", 10_000, keep=1)
    assert (on_drive.folder, on_drive.size_bytes) == (checkpoints, 30_000 - there)
    assert local.folder == working(checkpoints)
    assert 10_000 <= local.size_bytes < 20_000
    assert checkpoint_needs(checkpoints, "text_encoder", 10_000, keep=3)[0].size_bytes == 40_000
