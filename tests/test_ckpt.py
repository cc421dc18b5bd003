"""One file from a folder: Diffusers draws the same picture from both, and nothing unfinished gets the name."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from micro import diffusers, make_folder, parts_of, torch
from subjects import train_a_little

from fsd import pipeline, upkeep
from fsd.data.session import Session
from fsd.errors import FsdError, MachineError, SessionError, WeightsError
from fsd.runtime import space
from fsd.runtime.files import sha256
from fsd.weights import stream
from fsd.weights.ckpt import read_file, save_ckpt
from fsd.weights.folder import write_folder
from fsd.weights.layouts import LAYOUTS
from fsd.weights.parts import read_part
from fsd.weights.tensors import read_header

safetensors_torch = pytest.importorskip("safetensors.torch")
DATELESS = {"modelspec.date": "", "modelspec.title": "", "fsd.made_from_fingerprint": ""}


@pytest.fixture(scope="module", params=[1, 2], ids=["one-layer", "two-layers"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("base") / f"base{request.param}", request.param)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("small") / "base", layers=1)


def picture(pipeline: diffusers.StableDiffusionPipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    made = pipeline("a cat", num_inference_steps=2, height=64, width=64, generator=generator, output_type="pt")
    return made.images


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_diffusers_draws_the_same_picture_from_the_file(folder: Path, tmp_path: Path, suffix: str) -> None:
    report = save_ckpt(parts_of(folder), tmp_path / f"model{suffix}", dtype=None)
    single = diffusers.StableDiffusionPipeline.from_single_file(
        str(report.path), config=str(folder), local_files_only=True, safety_checker=None, requires_safety_checker=False
    )
    whole = diffusers.StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False
    )
    assert (picture(single) - picture(whole)).abs().max() <= 1e-4


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_there_and_back_is_equal_tensor_by_tensor(folder: Path, tmp_path: Path, suffix: str) -> None:
    report = save_ckpt(parts_of(folder), tmp_path / f"model{suffix}", dtype=None)
    back = write_folder(report.path, tmp_path / "back", folder, layout="sd1").path
    for part in ("unet", "vae", "text_encoder"):
        assert tensors_of(back / part) == tensors_of(folder / part)
    diffusers.StableDiffusionPipeline.from_pretrained(back, safety_checker=None)
    with pytest.raises(WeightsError, match="already exists"):
        write_folder(report.path, back, folder, layout="sd1")


def test_joined_tensors_come_apart_again(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = tuple((f"self_attn.{letter}_proj.", "self_attn.qkv_") for letter in "qkv")
    unet, vae, clip = LAYOUTS["sd1"].parts
    clip = replace(clip, renames=fused, joined=("qkv_weight", "qkv_bias"))
    monkeypatch.setitem(LAYOUTS, "joined", replace(LAYOUTS["sd1"], parts=(unet, vae, clip)))
    report = save_ckpt(parts_of(small), tmp_path / "model.safetensors", None, layout="joined")
    assert any(key.endswith("self_attn.qkv_weight") for key in read_file(report.path))
    back = write_folder(report.path, tmp_path / "back", small, layout="joined").path
    assert tensors_of(back / "text_encoder") == tensors_of(small / "text_encoder")


def tensors_of(part: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    found = {}
    for tensor in read_part(part):
        with tensor.file.open("rb") as file:
            file.seek(tensor.offset)
            found[tensor.key.removeprefix("text_model.")] = (tensor.dtype, tensor.shape, file.read(tensor.size_bytes))
    return found


def test_the_text_encoder_is_written_nested_whichever_way_it_came(small: Path, tmp_path: Path) -> None:
    nested = tmp_path / "nested"
    shutil.copytree(small, nested)
    file = nested / "text_encoder" / "model.safetensors"
    flat = {key.removeprefix("text_model."): value for key, value in safetensors_torch.load_file(file).items()}
    old = {f"text_model.{key}": value for key, value in flat.items()}
    safetensors_torch.save_file(flat, file)
    one = save_ckpt(parts_of(nested), tmp_path / "flat.safetensors", None, DATELESS)
    safetensors_torch.save_file(old | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, file)
    two = save_ckpt(parts_of(nested), tmp_path / "nested.safetensors", None, DATELESS)
    assert two.left_out == ("text_encoder: text_model.embeddings.position_ids",)
    assert one.sha256 == two.sha256 == sha256(two.path)
    keys = [key for key in read_header(one.path)[0] if key.startswith("cond_stage_model.")]
    assert len(keys) == len(flat)
    assert all(key.startswith("cond_stage_model.transformer.text_model.") for key in keys)


def test_old_vae_attention_names_shards_and_variants_are_read(small: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(small, old)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = safetensors_torch.load_file(old / "vae" / "diffusion_pytorch_model.safetensors")
    pattern = re.compile(r"(?<=attentions\.0\.)(to_q|to_k|to_v|to_out\.0)(?=\.)")
    renamed = {pattern.sub(lambda match: names[match[0]], key): value for key, value in vae.items()}
    assert renamed.keys() != vae.keys()
    (old / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    safetensors_torch.save_file(renamed, old / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    model = diffusers.UNet2DConditionModel.from_pretrained(small / "unet")
    shutil.rmtree(old / "unet")
    model.save_pretrained(old / "unet", max_shard_size="50KB")
    assert len(list((old / "unet").glob("*.safetensors"))) > 2
    save_ckpt(parts_of(old), tmp_path / "old.safetensors", None)
    save_ckpt(parts_of(small), tmp_path / "new.safetensors", None)
    one, two = (safetensors_torch.load_file(tmp_path / name) for name in ("old.safetensors", "new.safetensors"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_cast_is_torchs_own(small: Path, tmp_path: Path) -> None:
    save_ckpt(parts_of(small), tmp_path / "whole.safetensors", None)
    save_ckpt(parts_of(small), tmp_path / "half.safetensors", "fp16")
    save_ckpt(parts_of(small), tmp_path / "half.ckpt", "fp16")
    whole, half = (safetensors_torch.load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "half"))
    other = torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(half[key], whole[key].half()) and torch.equal(half[key], other[key]) for key in whole)


def test_bfloat16_parts_become_either(small: Path, tmp_path: Path) -> None:
    brain = tmp_path / "brain"
    shutil.copytree(small, brain)
    file = brain / "unet" / "diffusion_pytorch_model.safetensors"
    source = {key: value.bfloat16() for key, value in safetensors_torch.load_file(file).items()}
    safetensors_torch.save_file(source, file)
    for dtype, kind in (("fp32", torch.float32), ("fp16", torch.float16), (None, torch.bfloat16)):
        found = safetensors_torch.load_file(save_ckpt(parts_of(brain), tmp_path / "one.safetensors", dtype).path)
        key = "model.diffusion_model.input_blocks.0.0.weight"
        assert found[key].dtype == kind
        assert torch.equal(found[key], source["conv_in.weight"].to(kind))


def test_the_metadata_says_what_it_is(small: Path, tmp_path: Path) -> None:
    notes = {"fsd.recipe": "0123", "modelspec.title": "my dog"}
    report = save_ckpt(parts_of(small), tmp_path / "sks.safetensors", metadata=notes)
    metadata = read_header(report.path)[1]
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1"
    assert metadata["modelspec.prediction_type"] == "epsilon"
    assert (metadata["modelspec.title"], metadata["fsd.recipe"]) == ("my dog", "0123")
    report = save_ckpt(parts_of(small), tmp_path / "sks.ckpt", metadata={"fsd.recipe": "0123"})
    assert torch.load(report.path, weights_only=True)["metadata"]["fsd.recipe"] == "0123"
    assert report.tensors == len(read_file(report.path))
    assert report.size_bytes == report.path.stat().st_size


@pytest.mark.parametrize("fault", [errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, 0])
def test_copying_falls_back_to_reading_and_writing(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    calls = []

    def refuse(*arguments: int) -> int:
        calls.append(arguments)
        if fault:
            raise OSError(fault, "not here")
        return 0

    fast = save_ckpt(parts_of(small), tmp_path / "fast.safetensors", None, DATELESS)
    monkeypatch.setattr(os, "copy_file_range", refuse)
    slow = save_ckpt(parts_of(small), tmp_path / "slow.safetensors", None, DATELESS)
    assert fast.sha256 == slow.sha256
    assert calls


def test_what_was_written_wrongly_never_gets_its_name(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "model.safetensors"
    destination.write_text("the last good one")
    real = stream.copy_range

    def spoil(*arguments: object) -> int:
        end = real(*arguments)  # type: ignore[arg-type]
        os.pwrite(arguments[2], b"spoiled!", end - 8)  # type: ignore[arg-type]
        return end

    monkeypatch.setattr(stream, "copy_range", spoil)
    with pytest.raises(WeightsError, match="not written as it was meant"):
        save_ckpt(parts_of(small), destination, None)
    assert destination.read_text() == "the last good one"
    assert list(tmp_path.iterdir()) == [destination]


def test_a_file_of_other_tensors_never_gets_its_name(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_others(path: Path, *_: object) -> None:
        safetensors_torch.save_file({"others": torch.zeros(1)}, path)

    monkeypatch.setattr("fsd.weights.output.write_tensors", write_others)
    with pytest.raises(WeightsError, match="not written as it was meant"):
        save_ckpt(parts_of(small), tmp_path / "model.safetensors", None)
    assert not list(tmp_path.iterdir())


def test_the_verb_names_the_parts_it_saved_and_clears_what_a_kill_left(micro_session: Session) -> None:
    train_a_little(micro_session)
    left = micro_session.folder / ".cup.safetensors.partial-0123abcd"
    left.write_bytes(b"half")
    saved = pipeline.save_ckpt(micro_session)
    assert "text encoder: text_encoder-000006; UNet: unet-000008\n" in saved.text
    assert not left.exists()
    left.write_bytes(b"half")
    assert upkeep.clean_session(micro_session, "leftovers")["freed_bytes"] == 4
    assert not left.exists()


def test_the_verb_keeps_the_good_file_when_the_only_checkpoint_is_damaged(micro_session: Session) -> None:
    train_a_little(micro_session)
    saved = pipeline.save_ckpt(micro_session)
    weights = next((micro_session.checkpoints / "unet-000008/unet").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match=r"no UNet checkpoint in .* is whole"):
        pipeline.save_ckpt(micro_session)
    assert sha256(Path(saved["ckpt"])) == saved["sha256"]


def test_the_verb_does_not_save_a_stage_that_the_recipe_leaves_out(micro_session: Session) -> None:
    train_a_little(micro_session)
    shutil.rmtree(micro_session.checkpoints / "unet-000008")
    assert "text encoder: text_encoder-000006; UNet: base" in pipeline.save_ckpt(micro_session).text
    micro_session.save_recipe(micro_session.recipe().changed(text_encoder__steps=0))
    with pytest.raises(SessionError, match="nothing is trained yet"):
        pipeline.save_ckpt(micro_session)


def test_a_full_disk_is_said_before_anything_is_written(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(MachineError, match="are free"):
        save_ckpt(parts_of(small), tmp_path / "out" / "model.safetensors")
    monkeypatch.undo()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(MachineError, match="No space left"):
        save_ckpt(parts_of(small), tmp_path / "out" / "model.safetensors", None)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"destination": Path("model.pt")}, "neither"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"layout": "sd9"}, "layout 'sd9'"),
        ({"parts": {}}, "no unet and no vae and no text_encoder"),
    ],
)
def test_bad_requests(small: Path, tmp_path: Path, arguments: dict, says: str) -> None:
    with pytest.raises(FsdError, match=re.escape(says)):
        save_ckpt(**{"parts": parts_of(small), "destination": tmp_path / "model.ckpt", **arguments})


def test_a_single_file_of_another_kind_names_its_keys(small: Path, tmp_path: Path) -> None:
    safetensors_torch.save_file({"lora_unet_x.alpha": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(WeightsError, match=r"lora\.safetensors do not fit.*missing: model\.diffusion_model\."):
        write_folder(tmp_path / "lora.safetensors", tmp_path / "out", small, layout="sd1")
    assert not (tmp_path / "out").exists()
