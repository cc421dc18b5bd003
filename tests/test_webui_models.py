"""The model that a web UI opens with: of a session, a path or a family; linked where it can be, refused where it cannot run."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from micro import parts_of
from pipelines import make_sd3

from fsd.data.session import Session
from fsd.errors import RecipeError, SessionError, WeightsError
from fsd.families import FAMILIES
from fsd.runtime import colab
from fsd.runtime.files import write_json
from fsd.webui.desk import Desk, link, put
from fsd.webui.models import Chosen, find_model, lora_files, model_file
from fsd.weights.ckpt import read_file, save_ckpt


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    found = Desk(tmp_path, "a1111", tmp_path / "local")
    found.lay_out()
    return found


@pytest.fixture
def single_file(micro_model: Path, tmp_path: Path) -> Path:
    save_ckpt(parts_of(micro_model), tmp_path / "downloads" / "my.safetensors", "fp16")
    return tmp_path / "downloads" / "my.safetensors"


def no_save(session: Session, step: str) -> Path:
    raise AssertionError("nothing is to be saved")


def test_a_desk_leads_to_what_is_kept(desk: Desk) -> None:
    kept = desk.root / "WebUI" / "models"
    (kept / "ControlNet" / "canny.safetensors").write_bytes(b"x")
    (kept / "Stable-diffusion" / "other.safetensors").write_bytes(b"x")
    assert (desk.folder / "models" / "ControlNet" / "canny.safetensors").is_file()
    assert (desk.checkpoints / "yours" / "other.safetensors").is_file()
    (desk.folder / "outputs" / "a.png").write_bytes(b"x")
    assert (desk.root / "WebUI" / "a1111" / "outputs" / "a.png").is_file()
    assert desk.has_checkpoint()
    before = sorted(path for path in desk.folder.rglob("*"))
    (desk.checkpoints / "gone.safetensors").symlink_to("/nowhere")
    desk.lay_out()
    assert sorted(path for path in desk.folder.rglob("*")) == before


def test_settings_of_people_are_left_alone(desk: Desk) -> None:
    desk.settle({"upcast_attn": True})
    desk.settle({"upcast_attn": False, "more": 1})
    config = desk.kept / "config.json"
    assert config.read_text() == '{\n  "upcast_attn": true,\n  "more": 1\n}\n'
    config.write_text("{broken")
    desk.settle({"x": 1})
    assert config.read_text() == "{broken"


def test_a_file_is_linked_not_copied(desk: Desk, single_file: Path) -> None:
    single_file.with_suffix(".yaml").write_text("model: 1\n")
    made = model_file(find_model(str(single_file), desk.root), desk.checkpoints, "fp16", no_save)
    assert made == desk.checkpoints / "my.safetensors"
    assert made.is_symlink()
    assert made.samefile(single_file)
    assert made.with_suffix(".yaml").read_text() == "model: 1\n"


def test_a_file_on_drive_is_copied_once(
    desk: Desk, single_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(colab, "MOUNT_POINT", single_file.parent)

    def copied() -> bool:
        made = put(single_file, desk.checkpoints, "my.safetensors")
        assert not made.is_symlink()
        assert made.read_bytes() == single_file.read_bytes()
        return "copying my.safetensors from Drive" in capsys.readouterr().out

    assert copied()
    assert not copied()
    os.utime(single_file, (1, 1))
    assert copied()


def test_somebodys_own_file_of_that_name_is_kept(
    desk: Desk, single_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for on_drive in (False, True):
        monkeypatch.setattr(colab, "MOUNT_POINT", single_file.parent if on_drive else Path("/nowhere"))
        place = desk.checkpoints / "my.safetensors"
        place.unlink(missing_ok=True)
        place.write_text("merged by the web UI")
        assert put(single_file, desk.checkpoints, "my.safetensors").samefile(place)
        assert place.read_bytes() == single_file.read_bytes()
        kept = desk.checkpoints / f"my ({2 + on_drive}).safetensors"
        assert kept.read_text() == "merged by the web UI"
        assert f"was there already: it is {kept.name} now" in capsys.readouterr().out
    os.utime(single_file, (1, 1))
    put(single_file, desk.checkpoints, "my.safetensors")
    assert "was there already" not in capsys.readouterr().out, "a copy of ours goes"


def test_a_folder_becomes_one_file_once(desk: Desk, micro_model: Path) -> None:
    chosen = find_model(str(micro_model), desk.root)
    made = model_file(chosen, desk.checkpoints, "fp16", no_save)
    assert made.parent == desk.checkpoints
    assert {tensor.dtype for tensor in read_file(made).values()} == {"F16"}
    before = made.stat().st_mtime_ns
    assert model_file(chosen, desk.checkpoints, "fp16", no_save).stat().st_mtime_ns == before
    stored = model_file(chosen, desk.checkpoints, None, no_save)
    assert {tensor.dtype for tensor in read_file(stored).values()} == {"F32"}
    assert "model_channels" in made.with_suffix(".yaml").read_text(), "a small model needs to be described"


def test_ckpt_is_taken_as_it_is_where_the_web_ui_can_open_it(desk: Desk, micro_model: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.ckpt"
    save_ckpt(parts_of(micro_model), ours)
    assert model_file(find_model(str(ours), desk.root), desk.checkpoints, None, no_save).is_symlink()
    newer = tmp_path / "newer.ckpt"  # as torch 2.13 writes them
    newer.write_bytes(ours.read_bytes())
    with zipfile.ZipFile(newer, "a") as archive:
        archive.writestr("archive/.format_version", "1")
    made = model_file(find_model(str(newer), desk.root), desk.checkpoints, None, no_save)
    assert made.name == "newer.safetensors"
    assert {key: tensor.shape for key, tensor in read_file(made).items()} == {
        key: tensor.shape for key, tensor in read_file(ours).items()
    }


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def test_a_ckpt_that_would_run_code_is_refused(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "evil.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(WeightsError, match=r"evil\.ckpt"):
        find_model(str(tmp_path / "evil.ckpt"), desk.root)
    assert not (tmp_path / "ran").exists()


def test_a_family_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = make_sd3(tmp_path / "sd3")
    with pytest.raises(RecipeError, match=r"a1111 cannot run Stable Diffusion 3\.5") as caught:
        find_model(str(folder), tmp_path).need("a1111")
    assert "use forge or comfyui or studio for it; a1111 runs: tiny, sd15" in caught.value.hint
    with pytest.raises(RecipeError, match="a1111 cannot run FLUX"):
        find_model("flux-dev", tmp_path).need("a1111")
    find_model("sd15", tmp_path).need("a1111")
    Chosen().need("a1111")


def test_what_is_no_model_is_said(tmp_path: Path, micro_session: Session) -> None:
    with pytest.raises(RecipeError, match="there is no model 'cop'") as caught:
        find_model("cop", tmp_path)
    assert "cup" in caught.value.hint
    (tmp_path / "page.safetensors").write_text("<html></html>")
    with pytest.raises(WeightsError, match="a web page"):
        find_model(str(tmp_path / "page.safetensors"), tmp_path)


def test_a_folder_of_photos_does_not_hide_the_session_of_its_name(
    tmp_path: Path, micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cup").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("cup", tmp_path).session


def test_a_checkpoint_that_there_is_not_is_said_with_those_there_are(tmp_path: Path, micro_session: Session) -> None:
    (micro_session.checkpoints / "unet-000500").mkdir(parents=True)
    assert find_model("cup@unet-000500", tmp_path).step == "unet-000500"
    assert find_model("cup@base", tmp_path).step == "base"
    with pytest.raises(SessionError, match="'cup' has no checkpoint 'unet-000400'") as caught:
        find_model("cup@unet-000400", tmp_path)
    assert caught.value.hint == "it has: unet-000500, base"


@pytest.mark.parametrize("spec", ["~nobody/model.ckpt", "~nobody", "x" * 300, "\0"])
def test_what_no_path_can_be_called_is_no_model(tmp_path: Path, spec: str) -> None:
    with pytest.raises(RecipeError, match="there is no "):
        find_model(spec, tmp_path)


def test_the_one_file_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/cup.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError) as caught:
        find_model(str(tmp_path / "mine"), tmp_path)
    assert f"name the file itself: {tmp_path / 'mine/cup.safetensors'}" in caught.value.hint


def test_a_session_saves_its_ckpt_when_a_checkpoint_is_younger(
    desk: Desk, micro_session: Session, micro_model: Path
) -> None:
    ckpt, saved = micro_session.folder / "cup.safetensors", []

    def save(session: Session, step: str) -> Path:
        saved.append(step)
        file = session.folder / (f"cup-{step}.safetensors" if step else "cup.safetensors")
        save_ckpt(parts_of(micro_model), file)
        return file

    def opened(spec: str) -> Path:
        return model_file(find_model(spec, micro_session.folder.parents[2]), desk.checkpoints, None, save)

    with pytest.raises(SessionError, match="no trained model yet") as caught:
        opened("cup")
    assert "cup@base" in caught.value.hint
    trained = micro_session.checkpoints / "unet-000008"
    trained.mkdir()
    (trained / "checkpoint.json").write_text("{}")
    assert opened("cup").samefile(ckpt)
    assert saved == [""]
    assert opened("cup").samefile(ckpt)
    assert saved == [""]
    os.utime(ckpt, (1, 1))
    assert opened("cup").samefile(ckpt)
    assert saved == ["", ""]
    assert opened("cup@unet-000008").name == "cup-unet-000008.safetensors"
    assert opened("cup@unet-000008").name == "cup-unet-000008.safetensors"
    assert saved == ["", "", "unet-000008"]
    assert opened("cup@base").name.startswith("cup_base-")


def test_a_session_s_loras_are_offered(desk: Desk, micro_session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    from micro import torch
    from safetensors.torch import save_file

    unet = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    ends = {"lora_down.weight": torch.ones(2, 8), "lora_up.weight": torch.ones(8, 2), "alpha": torch.tensor(2.0)}
    save_file(
        {f"lora_unet_{unet}.{end}": value for end, value in ends.items()}, micro_session.folder / "style.safetensors"
    )
    (micro_session.folder / "broken.safetensors").write_bytes(b"no")
    (offered,) = lora_files(micro_session, desk.loras)
    assert offered.samefile(micro_session.folder / "style.safetensors")
    assert offered.parent == desk.loras
    assert "broken.safetensors is not offered" in capsys.readouterr().out


def test_links_take_the_place_of_links_only(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert link(one, tmp_path / "it").samefile(one)
    assert link(two, tmp_path / "it").samefile(two)
    (tmp_path / "mine").mkdir()
    assert not link(one, tmp_path / "mine").is_symlink()


def test_the_file_that_a_family_came_as_is_used_itself(
    desk: Desk, single_file: Path, micro_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = desk.root / "folder"
    shutil.copytree(micro_model, folder)
    write_json(folder / "fsd.json", {"family": "sd15", "made_from": single_file.name})
    for module in ("models", "single_file"):
        monkeypatch.setattr(f"fsd.webui.{module}.find_base_model", lambda spec: folder)
    monkeypatch.setattr("fsd.webui.single_file.hub_file", lambda source, offline: single_file)
    sources = tuple(source for source in FAMILIES["sd15"].sources if source.file)
    monkeypatch.setitem(FAMILIES, "sd15", replace(FAMILIES["sd15"], sources=sources))
    made = model_file(find_model("sd15", desk.root), desk.checkpoints, "fp16", no_save)
    assert made.is_symlink()
    assert made.samefile(single_file)
    write_json(folder / "fsd.json", {"family": "sd15", "made_from": "another.safetensors"})
    assert not model_file(find_model("sd15", desk.root), desk.checkpoints, "fp16", no_save).is_symlink()
