"""Each stage asks for room with the sizes of all that it will write, and before it does anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from micro import parts_of
from runs import train

from fsd.data.archive import export_session
from fsd.data.photos import add_photos
from fsd.data.session import Session
from fsd.errors import MachineError
from fsd.generate import class_images, models, sample
from fsd.generate.request import PictureRequest
from fsd.runtime import files, space
from fsd.runtime.space import Need
from fsd.runtime.spool.local_first import FSD_LOCAL, twin
from fsd.stage import save_stage
from fsd.train import prepare
from fsd.weights import checkpoint
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.ckpt import save_ckpt
from fsd.weights.sizes import ckpt_needs


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_a_ckpts_size_is_known_from_the_headers(
    micro_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    session = tmp_path / "session"
    (here,) = ckpt_needs(session, parts_of(micro_model), "sd1", dtype)
    monkeypatch.setenv(FSD_LOCAL, str(tmp_path / "disk"))
    on_drive, local = ckpt_needs(session, parts_of(micro_model), "sd1", dtype)
    assert (here.folder, on_drive.folder, local.folder) == (session, session, twin(session))
    written = save_ckpt(parts_of(micro_model), tmp_path / "a.ckpt", dtype).size_bytes
    written = min(written, save_ckpt(parts_of(micro_model), tmp_path / "a.safetensors", dtype).size_bytes)
    header_bytes = 100_000  # of 658 tensors, whose own numbers are as few as a narrow model's
    assert written - header_bytes <= here.size_bytes == on_drive.size_bytes == local.size_bytes <= written


@pytest.mark.parametrize("stage", ["text_encoder", "unet"])
def test_what_a_stage_writes_was_asked_for(
    micro_session: Session, monkeypatch: pytest.MonkeyPatch, stage: str, tmp_path: Path
) -> None:
    asked: list[Need] = []
    monkeypatch.setattr(prepare, "need_room", lambda needs: asked.extend(needs))
    monkeypatch.setenv(FSD_LOCAL, str(tmp_path / "disk"))
    monkeypatch.setattr(prepare.process, "run_stage", lambda module, *given: sample.main([*given]))
    micro_session.save_recipe(micro_session.recipe().changed(samples__every_steps=4, samples__at_end=True))
    train(micro_session, stage)
    written = {path.name.partition("-")[0]: path.stat().st_size for path in micro_session.cache.glob("*.safetensors")}
    assert written.keys() == ({"latents", "embeddings"} if stage == "unet" else {"latents"})
    assert {need.folder for need in asked} >= {micro_session.checkpoints, micro_session.cache, micro_session.samples}
    by_name = {need.what: need.size_bytes for need in asked}
    for name, size_bytes in written.items():
        assert 0 <= size_bytes - by_name[name] < 1000, "less the file's header"
    there = files.size_bytes(micro_session.samples)
    assert 0 < there <= next(need.size_bytes for need in asked if need.what.endswith("samples"))
    local = twin(micro_session.checkpoints)
    assert local in {need.folder for need in asked}


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave 1 KB on every disk."""
    monkeypatch.setattr(space.shutil, "disk_usage", lambda place: SimpleNamespace(total=10**12, free=1000))


def trained(session: Session) -> None:
    def write(folder: Path) -> None:
        (folder / "unet").mkdir()
        for path in (Path(session.recipe().base_model) / "unet").iterdir():
            (folder / "unet" / path.name).write_bytes(path.read_bytes())

    run = {"base model": base_fingerprint(Path(session.recipe().base_model))}
    checkpoint.save_checkpoint(session.checkpoints, "unet", 8, True, {"run": run}, write)


WORK: dict[str, Callable[[Session, Path], object]] = {
    "the photos": lambda session, photos: add_photos(session, photos),
    "4 class images": lambda session, photos: class_images.make_class_images(session),
    "latents": lambda session, photos: train(session, "unet"),
    "the CKPT": lambda session, photos: save_stage(session, "safetensors", "fp16", ""),
    "4 pictures": lambda session, photos: sample.make(session, PictureRequest(seeds=(1, 2))),
    "the copy": lambda session, photos: export_session(session, photos / "copy"),
}


@pytest.mark.parametrize("what", WORK)
def test_a_full_disk_stops_it_before_anything_is_made(
    micro_session: Session, make_photos: Callable[[int], Path], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, photos = micro_session, make_photos(8)
    session.save_recipe(session.recipe().changed(prior__images=4))
    if what == "the CKPT":
        trained(session)
    monkeypatch.setattr(models, "open_base", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.setattr(sample, "open_model", lambda *_: pytest.fail("the model was loaded"))
    fill(monkeypatch)
    before = contents(session.folder)
    with pytest.raises(MachineError, match=f"will be needed on .*1.0 KB are free: .*{what} ") as caught:
        WORK[what](session, photos)
    assert "fsd clean-session" in caught.value.hint
    assert contents(session.folder) == before


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        ".writer.lock",
        "crops.json",
    }


def test_photos_that_are_there_need_no_room(
    micro_session: Session, make_photos: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch)
    assert add_photos(micro_session, make_photos(4)).added == []


def test_on_two_disks_both_count(micro_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FSD_LOCAL, str(tmp_path / "disk"))
    local = twin(micro_session.folder)
    assert local
    local.mkdir(parents=True)
    real = space.os.stat

    def disks(place: Path) -> object:
        return SimpleNamespace(st_dev=1 if Path(place).is_relative_to(tmp_path / "disk") else real(place).st_dev + 2)

    for full_one in (local, micro_session.folder):
        monkeypatch.setattr(space, "os", SimpleNamespace(stat=disks))
        monkeypatch.setattr(
            space.shutil, "disk_usage",
            lambda place, full_one=full_one: SimpleNamespace(
                total=10**12, free=10 if Path(place).is_relative_to(full_one) else 10**12
            ),
        )  # fmt: skip
        with pytest.raises(MachineError, match=str(full_one)):
            space.need_room(needs(micro_session))


def needs(session: Session) -> Iterable[Need]:
    return ckpt_needs(session.folder, parts_of(Path(session.recipe().base_model)), "sd1", "fp16")
