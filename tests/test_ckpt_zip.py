"""A `.ckpt` passes the web UI's rules, and reading one executes nothing."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from micro import make_folder, parts_of, torch

from fsd.errors import WeightsError
from fsd.weights import ckpt_index
from fsd.weights.ckpt import read_file, save_ckpt
from fsd.weights.ckpt_zip import CkptFrame
from fsd.weights.tensors import Target


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("small") / "base", layers=1)


# What the web UI accepts of a .ckpt, in our own words (its modules/safe.py; facts, not text).
ENTRY = re.compile(r"[^/]+/(data/[0-9]+|version|byteorder|\.data/serialization_id|data\.pkl)")
STORAGE = re.compile(r"(Byte|Char|Short|Int|Long|Half|Float|Double|BFloat16|Bool)Storage")
NAMES = {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}


class StrictUnpickler(pickle.Unpickler):
    def persistent_load(self, pid: tuple[object, ...]) -> object:
        assert pid[0] == "storage"
        return "storage"

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) in NAMES or (module == "torch" and STORAGE.fullmatch(name)):
            return lambda *_: {}
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")


def web_ui_accepts(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        if not all(ENTRY.fullmatch(name) for name in archive.namelist()):
            return False
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        assert len(names) == 1
        StrictUnpickler(io.BytesIO(archive.read(names[0]))).load()
    return True


def test_the_ckpt_passes_the_web_uis_rules_where_torchs_own_does_not(small: Path, tmp_path: Path) -> None:
    report = save_ckpt(parts_of(small), tmp_path / "model.ckpt")
    assert web_ui_accepts(report.path)
    assert zipfile.ZipFile(report.path).testzip() is None
    plain = torch.load(report.path, weights_only=True)["state_dict"]
    mapped = torch.load(report.path, weights_only=True, mmap=True)["state_dict"]
    assert all(torch.equal(plain[key], mapped[key]) and plain[key].is_contiguous() for key in plain)
    assert all(tensor.offset % 64 == 0 for tensor in read_file(report.path).values())
    torch.save({"state_dict": plain}, tmp_path / "torch.ckpt")
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13):
        assert not web_ui_accepts(tmp_path / "torch.ckpt")
    assert read_file(tmp_path / "torch.ckpt").keys() == plain.keys()


def test_a_ckpt_beyond_four_gigabytes_is_zip64(tmp_path: Path) -> None:
    """Headers at their places in a file of holes: nothing of that size is written."""
    targets = [Target("big", "F32", (1 << 30, 1), ()), Target("last", "F16", (3,), ())]
    frame, path = CkptFrame(targets, {}), tmp_path / "big.ckpt"
    with path.open("wb") as file:
        file.write(frame.head)
        for index, offset in enumerate(frame.offsets):
            lead = frame.lead(index, 0)
            file.seek(offset - len(lead))
            file.write(lead)
        file.seek(frame.offsets[-1] + 6)
        file.write(frame.tail())
    assert web_ui_accepts(path)
    found = torch.load(path, weights_only=True, mmap=True)["state_dict"]
    assert found["big"].shape == (1 << 30, 1)
    assert read_file(path)["last"].offset == frame.offsets[1]
    assert frame.offsets[1] > 1 << 32


class Attack:
    """Runs os.mkdir when it is unpickled by anything that executes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def ckpt_with(path: Path, content: bytes, name: str = "archive/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return path


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
BAD_PICKLES = [
    ("cut", b"\x80\x02}(X\x03\x00\x00\x00", "not sound"),
    ("not a dictionary", b"\x80\x02]." , "not sound"),
    ("getattr", b"\x80\x02c__builtin__\ngetattr\n.", "would run __builtin__.getattr"),
    ("eval", b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "would run builtins.eval"),
    ("dotted name", b"\x80\x04\x8c\x0bcollections\x8c\x16OrderedDict.__reduce__\x93.", "would run collections.OrderedDict."),
    ("extension", b"\x80\x02\x82\x01.", "not sound"),
    ("state set on a name", TENSOR + b"}X\x0c\x00\x00\x00__defaults__)sb.", "not sound"),
    ("a tensor of nothing", b"\x80\x02}X\x01\x00\x00\x00a" + TENSOR + b"(K\x00K\x00))tRs.", "not sound"),
    ("values that are not there", b"\x80\x02}X\x01\x00\x00\x00a" + TENSOR + b"((X\x07\x00\x00\x00storagectorch\nHalfStorage\n"
     b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00K\x01\x85K\x01\x85\x89)tRs.", "missing or compressed"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "says"), [case[1:] for case in BAD_PICKLES], ids=[case[0] for case in BAD_PICKLES])
def test_bad_pickles_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(says)) as caught:
        read_file(ckpt_with(tmp_path / "bad.ckpt", content))
    assert "bad.ckpt" in caught.value.message
    assert ckpt_index._tensor.__defaults__ is None


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_runs_something_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    attack = Attack(tmp_path / "was-here")
    for depth, value in enumerate([attack, {"state_dict": {"a": [attack]}}, ({1: attack},)]):
        with pytest.raises(WeightsError, match="would run"):
            read_file(ckpt_with(tmp_path / f"bad{depth}.ckpt", pickle.dumps(value, protocol)))
    with pytest.raises(WeightsError):
        read_file(ckpt_with(tmp_path / "hidden.ckpt", pickle.dumps(attack, protocol), "archive/other.pkl"))
    assert not attack.path.exists()


@pytest.mark.parametrize("spoil", ["no zip", "missing", "cut", "two pickles", "torch 1.5"])
def test_bad_ckpt_files_are_named(small: Path, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "bad.ckpt"
    save_ckpt(parts_of(small), path)
    if spoil == "no zip":
        path.write_bytes(b"<html>")
    elif spoil == "missing":
        path.unlink()
    elif spoil == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif spoil == "two pickles":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("other/data.pkl", b".")
    else:
        torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"bad\.ckpt"):
        read_file(path)
