"""Damaged and misfit model folders: one error each, naming the file or the tensors, and nothing is written."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from micro import make_folder, parts_of, torch

from fsd.errors import WeightsError
from fsd.weights.ckpt import save_ckpt

safetensors_torch = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("small") / "base", layers=1)


def unet(folder: Path) -> Path:
    return folder / "unet" / "diffusion_pytorch_model.safetensors"


def with_header(path: Path, change: Callable[[dict], None]) -> None:
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def truncated(folder: Path) -> None:
    unet(folder).write_bytes(unet(folder).read_bytes()[:-5])


def too_long(folder: Path) -> None:
    unet(folder).write_bytes(unet(folder).read_bytes() + b"more")


def flipped_header(folder: Path) -> None:
    content = bytearray(unet(folder).read_bytes())
    content[40] ^= 0x80
    unet(folder).write_bytes(content)


def overlapping(folder: Path) -> None:
    def change(header: dict) -> None:
        same = [record for record in header.values() if record.get("shape") == [8]]
        one, two = sorted(same, key=lambda record: record["data_offsets"])[:2]
        two["data_offsets"] = one["data_offsets"]

    with_header(unet(folder), change)


def absurd_length(folder: Path) -> None:
    unet(folder).write_bytes(struct.pack("<Q", 1 << 62) + unet(folder).read_bytes()[8:])


def wrong_size(folder: Path) -> None:
    with_header(unet(folder), lambda header: header["conv_in.bias"].update(shape=[9]))


def negative(folder: Path) -> None:
    with_header(unet(folder), lambda header: header["conv_in.bias"].update(shape=[-8], data_offsets=[32, 0]))


def unknown_dtype(folder: Path) -> None:
    with_header(unet(folder), lambda header: header["conv_in.bias"].update(dtype="F13"))


def integers(folder: Path) -> None:
    with_header(unet(folder), lambda header: header["conv_in.bias"].update(dtype="I32"))


def deep_header(folder: Path) -> None:
    text = b"[" * 100_000
    unet(folder).write_bytes(struct.pack("<Q", len(text)) + text)


def empty(folder: Path) -> None:
    unet(folder).write_bytes(b"")


def pointer(folder: Path) -> None:
    unet(folder).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def no_weights(folder: Path) -> None:
    unet(folder).unlink()


def only_flax(folder: Path) -> None:
    unet(folder).rename(folder / "unet" / "diffusion_flax_model.msgpack")


def old_pickle(folder: Path) -> None:
    unet(folder).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF")


def no_config(folder: Path) -> None:
    (folder / "unet" / "config.json").unlink()


def broken_config(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")


def other_width(folder: Path) -> None:
    change_config(folder, cross_attention_dim=32)


def fewer_layers(folder: Path) -> None:
    change_config(folder, layers_per_block=2)


def other_blocks(folder: Path) -> None:
    change_config(folder, down_block_types=["SimpleCrossAttnDownBlock2D"] * 4)


def class_embedding(folder: Path) -> None:
    change_config(folder, class_embed_type="timestep")


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def extra_tensor(folder: Path) -> None:
    tensors = safetensors_torch.load_file(unet(folder))
    safetensors_torch.save_file(tensors | {"lora.up": torch.zeros(3)}, unet(folder))


def lost_tensor(folder: Path) -> None:
    tensors = safetensors_torch.load_file(unet(folder))
    del tensors["conv_in.bias"]
    safetensors_torch.save_file(tensors, unet(folder))


def too_large_for_half(folder: Path) -> None:
    tensors = safetensors_torch.load_file(unet(folder))
    tensors["conv_in.bias"][0] = 1e6
    safetensors_torch.save_file(tensors, unet(folder))


def not_a_number(folder: Path) -> None:
    tensors = safetensors_torch.load_file(unet(folder))
    tensors["conv_in.bias"][0] = float("nan")
    safetensors_torch.save_file(tensors, unet(folder))


BAD = [
    (truncated, "truncated"), (too_long, "too long"), (flipped_header, "not sound"), (overlapping, "overlaps"),
    (absurd_length, "a header of"), (wrong_size, "conv_in.bias has 32 bytes"), (negative, "not a count"),
    (unknown_dtype, "unknown dtype 'F13'"), (integers, "dtype I32"), (deep_header, "not sound"), (empty, "0 bytes"),
    (pointer, "Git LFS"), (no_weights, "holds no weights"), (only_flax, "only diffusion_flax_model"),
    (old_pickle, "PyTorch 1.6"),
    (no_config, "No such file"), (broken_config, "not JSON"), (other_width, "not [16, 32]"), (fewer_layers, "missing: "),
    (other_blocks, "SimpleCrossAttnDownBlock2D"), (class_embedding, "class_embed_type is 'timestep'"),
    (extra_tensor, "not expected: lora.up"), (lost_tensor, "missing: conv_in.bias"),
    (too_large_for_half, "fp16 cannot hold"), (not_a_number, "fp16 cannot hold"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), BAD, ids=[spoil.__name__ for spoil, _ in BAD])
def test_bad_folders_have_one_clear_error(
    small: Path, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(small, bad)
    spoil(bad)
    with pytest.raises(WeightsError) as caught:
        save_ckpt(parts_of(bad), tmp_path / "out" / "model.safetensors")
    assert says in str(caught.value)
    assert (
        "unet" in caught.value.message or "embed_type" in caught.value.message or "block_types" in caught.value.message
    )
    assert caught.value.hint
    assert not list(tmp_path.glob("out/*"))
