"""The entries of a `.ckpt`'s ZIP: only those that PyTorch writes, stored as they are, each within the file and its own."""

from __future__ import annotations

import errno
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fsd.errors import WeightsError
from fsd.weights.tensors import damaged

MAX_PICKLE_BYTES = 64 << 20
_NAME = re.compile(
    r"[^/]+/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/[0-9]+)"
)
_ENCRYPTED = 0x1
_INSTEAD = "get the model as .safetensors"
_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""A protocol-2 pickle of PyTorch's first magic number."""


@dataclass(frozen=True)
class Members:
    """What a `.ckpt` is made of. pickle: the index of its tensors. storages: (first byte, bytes) of each by its name."""

    pickle: bytes
    storages: dict[str, tuple[int, int]]


def read_members(path: Path) -> Members:
    """The members of a `.ckpt`; the central directory, the local headers and data.pkl are read, no values.

    WeightsError naming the file where it is not a ZIP, or not as PyTorch 1.6 and later write it.
    """
    with path.open("rb") as stream:
        if stream.read(len(_LEGACY_MAGIC)) == _LEGACY_MAGIC:
            what = f"{path} is refused: it is of PyTorch before 1.6, and such files cannot be read without running them"
            raise WeightsError(what, _INSTEAD)
        try:
            with zipfile.ZipFile(stream) as archive:
                entries, end = archive.infolist(), archive.start_dir
                _check_names(path, entries)
                starts = _starts(path, stream, entries, end)
                storages, index = {}, b""
                for info in entries:
                    if "/data/" in info.filename:
                        storages[info.filename.split("/")[-1]] = (starts[info.filename], info.file_size)
                    elif info.filename.endswith("/data.pkl"):
                        index = archive.read(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, struct.error) as fault:
            raise damaged(path, f"it is no ZIP of PyTorch 1.6 or later ({fault})") from None
        except OSError as fault:
            if fault.errno != errno.EINVAL:  # a directory before the file's first byte
                raise
            raise damaged(path, "its directory is not where its end says") from None
    return Members(index, storages)


def _check_names(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [info.filename for info in entries]
    for name in names:
        if not _NAME.fullmatch(name):
            raise WeightsError(f"{path} is refused: it holds {name[:80]!r}, which no model does", _INSTEAD)
    if len(set(names)) != len(names) or len({name.split("/")[0] for name in names}) != 1:
        raise damaged(path, "it holds two models or an entry twice")
    indexes = [info for info in entries if info.filename.endswith("/data.pkl")]
    if len(indexes) != 1 or indexes[0].file_size > MAX_PICKLE_BYTES:
        raise damaged(path, f"it has not one data.pkl of at most {MAX_PICKLE_BYTES >> 20} MiB")


def _starts(path: Path, stream: BinaryIO, entries: list[zipfile.ZipInfo], end: int) -> dict[str, int]:
    """Where the content of each entry begins; damaged where two overlap, or one is packed or reaches beyond `end`."""
    starts, at = {}, 0
    for info in sorted(entries, key=lambda info: info.header_offset):
        stored = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
        if not stored or info.flag_bits & _ENCRYPTED:
            raise damaged(path, f"{info.filename} is compressed or encrypted")
        stream.seek(max(info.header_offset, at))
        local = stream.read(30)
        if info.header_offset < at or len(local) < 30 or local[:4] != b"PK\3\4":
            raise damaged(path, f"{info.filename} does not begin where its directory says")
        name, extra = struct.unpack("<HH", local[26:30])
        if stream.read(name) != info.filename.encode():
            raise damaged(path, f"{info.filename} is called otherwise where it begins")
        starts[info.filename] = info.header_offset + 30 + name + extra
        at = starts[info.filename] + info.file_size
        if at > end:
            raise damaged(path, f"{info.filename} reaches beyond the end of the file")
    return starts
