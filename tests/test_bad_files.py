"""Malicious and damaged files: refused by name, and nothing in them runs."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from micro import torch
from sparse import sparse_file

from fsd.__main__ import main
from fsd.errors import WeightsError
from fsd.runtime import report
from fsd.weights.ckpt_zip import state_pickle
from fsd.weights.detect import detect
from fsd.weights.tensors import Target
from fsd.weights.weight_file import read_weights

OUTLINE = {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3), "cond_stage_model.a": (3,)}
HONEST = state_pickle([Target("a", "F16", (4,), ())], {})


class Attack:
    """Leaves a marker where it is unpickled by anything that executes."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


def packed(path: Path, *members: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    """A .ckpt of an honest index and the values it speaks of, but for `members`."""
    found = {"archive/data.pkl": HONEST, "archive/data/0": bytes(8), "archive/version": b"3\n"} | dict(members)
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in found.items():
            archive.writestr(name, content)


def index(path: Path, content: bytes) -> None:
    packed(path, ("archive/data.pkl", content))


def command(marker: Path) -> bytes:
    return f"touch {marker}".encode()


def os_system(path: Path, marker: Path) -> None:
    index(path, pickle.dumps({"state_dict": Attack(marker)}, 2))


def nested(path: Path, marker: Path) -> None:
    value: object = Attack(marker)
    for _ in range(50):
        value = {"state_dict": [(value,)]}
    index(path, pickle.dumps(value, 4))


def beside_the_index(path: Path, marker: Path) -> None:
    packed(path, ("archive/other.pkl", pickle.dumps(Attack(marker))))


def torchscript(path: Path, marker: Path) -> None:
    packed(path, ("archive/constants.pkl", pickle.dumps(Attack(marker))), ("archive/code/__torch__.py", b"import os"))


def second_index(path: Path, marker: Path) -> None:
    packed(path, ("model/data.pkl", pickle.dumps(Attack(marker))))


def attribute_of_a_known_name(path: Path, marker: Path) -> None:
    text = b"__import__('os').system('" + command(marker) + b"')"
    name = b"_rebuild_tensor_v2.__globals__"
    index(path, b"\x80\x04\x8c\x0ctorch._utils\x8c" + bytes([len(name)]) + name + b"\x93X"
          + struct.pack("<I", len(text)) + text + b"\x85R.")  # fmt: skip


def builtins_eval(path: Path, marker: Path) -> None:
    text = b"__import__('os').system('" + command(marker) + b"')"
    index(path, b"\x80\x02c__builtin__\neval\nX" + struct.pack("<I", len(text)) + text + b"\x85R.")


def instance_opcode(path: Path, marker: Path) -> None:
    index(path, b"(S'" + command(marker) + b"'\nios\nsystem\n.")


def state_of_a_known_name(path: Path, marker: Path) -> None:
    index(
        path,
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\x00\x00\x00__defaults__)sb"
        + pickle.dumps(Attack(marker), 2)[2:],
    )


def legacy(path: Path, marker: Path) -> None:
    torch.save({"a": Attack(marker)}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Attack(marker), 0))


def packed_values(path: Path, marker: Path) -> None:
    packed(path, how=zipfile.ZIP_DEFLATED)


def bomb(path: Path, marker: Path) -> None:
    packed(path, ("archive/data.pkl", bytes(200 << 20)), how=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20


def truncated(path: Path, marker: Path) -> None:
    packed(path)
    path.write_bytes(path.read_bytes()[:-30])


def cut_in_the_middle(path: Path, marker: Path) -> None:
    sparse_file(path, OUTLINE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + content[len(content) // 2 + 512 :])


def beyond_its_storage(path: Path, marker: Path) -> None:
    packed(path, ("archive/data/0", bytes(6)))


def no_storage(path: Path, marker: Path) -> None:
    index(path, HONEST.replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"))


def overlapping(path: Path, marker: Path) -> None:
    """Two storages in the same bytes: the directory sends the second to the first."""
    packed(path, ("archive/data/1", bytes(8)))
    content = bytearray(path.read_bytes())
    places = [at for at in range(len(content)) if content[at : at + 4] == b"PK\1\2"]
    first, second = (next(at for at in places if content[at + 46 :].startswith(name))
                     for name in (b"archive/data/0", b"archive/data/1"))  # fmt: skip
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    path.write_bytes(content)


def longer_than_the_file(path: Path, marker: Path) -> None:
    packed(path)
    content = path.read_bytes()
    at = content.index(b"archive/data/0", content.index(b"PK\1\2")) - 46
    path.write_bytes(content[: at + 20] + struct.pack("<II", 1 << 30, 1 << 30) + content[at + 28 :])


def flipped_header(path: Path, marker: Path) -> None:
    sparse_file(path.with_suffix(".safetensors"), OUTLINE).rename(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"data_offsets") + 15] ^= 0x04
    path.write_bytes(content)


BAD = [
    (os_system, "would run posix.system"), (nested, "would run posix.system"), (beside_the_index, "'archive/other.pkl'"),
    (torchscript, "'archive/constants.pkl'"), (second_index, "two models"),
    (attribute_of_a_known_name, "would run torch._utils._rebuild_tensor_v2.__globals__"),
    (builtins_eval, "would run __builtin__.eval"), (instance_opcode, "would run os.system"),
    (state_of_a_known_name, "would run posix.system"), (legacy, "before 1.6"), (bare_pickle, "damaged"),
    (packed_values, "compressed"), (bomb, "at most 64 MiB"), (truncated, "no ZIP"), (cut_in_the_middle, "damaged"),
    (beyond_its_storage, "does not fit into its storage"), (no_storage, "are missing"),
    (overlapping, "data/1 "), (longer_than_the_file, "beyond the end"), (flipped_header, "damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "says"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_bad_files_are_refused_by_name_and_nothing_runs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path, Path], None],
    says: str,
) -> None:
    path, marker = tmp_path / "bad.ckpt", tmp_path / "was-here"
    make(path, marker)
    for name in ("bad.ckpt", "bad.safetensors", "bad.pt"):
        path = path.rename(tmp_path / name)
        with pytest.raises(WeightsError) as caught:
            detect(path)
        assert says in caught.value.message
        assert name in caught.value.message
    monkeypatch.setattr(report, "_stream", None)
    assert main(["inspect", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "weights"
    assert not marker.exists()


def test_the_attacks_would_run_where_pickles_are_executed(tmp_path: Path) -> None:
    """What the tests above prove is that nothing ran, so it must be able to."""
    marker = tmp_path / "was-here"
    pickle.loads(pickle.dumps(Attack(marker)))
    assert marker.exists()


def test_no_flipped_bit_in_the_directory_changes_what_is_read(tmp_path: Path) -> None:
    """Each byte of the central directory in turn: refused by name, or read as before."""
    path = sparse_file(tmp_path / "good.ckpt", {"a": (4, 2), "b": (3,)})
    content, meant = path.read_bytes(), {key: tensor.offset for key, tensor in read_weights(path)[0].items()}
    refused: list[str] = []
    path = tmp_path / "bad.ckpt"
    for at in range(content.index(b"PK\1\2"), len(content)):
        for bit in (0, 5):
            spoilt = bytearray(content)
            spoilt[at] ^= 1 << bit
            path.write_bytes(spoilt)
            try:
                found = {key: tensor.offset for key, tensor in read_weights(path)[0].items()}
            except WeightsError as fault:
                refused.append(fault.message)
            else:
                assert found == meant
    assert len(refused) > 200
    assert all("bad.ckpt" in message for message in refused)
