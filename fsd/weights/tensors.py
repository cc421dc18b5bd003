"""Safetensors files without torch: the header read and written, the tensors as places in a file."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsd.errors import WeightsError

Shape = tuple[int, ...]

DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library: longer headers are refused by every reader."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `size_bytes` of row-major little-endian values at byte `offset` of `file`."""

    file: Path
    key: str
    dtype: str
    shape: Shape
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Target:
    """A tensor to be written: the sources' values one after another (joined along the first axis), cast to `dtype`.

    transposed: the one source is a matrix that is turned over on the way; it is held in memory.
    """

    key: str
    dtype: str
    shape: Shape
    sources: tuple[StoredTensor, ...]
    transposed: bool = False

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]


def rows_of(stored: StoredTensor, start: int, rows: int) -> StoredTensor:
    """So many rows of a tensor, from row `start`."""
    size = stored.size_bytes // stored.shape[0]
    shape = (rows, *stored.shape[1:])
    return replace(stored, shape=shape, offset=stored.offset + start * size, size_bytes=rows * size)


def damaged(path: Path, what: str) -> WeightsError:
    """The error for a weight file that cannot be read."""
    return WeightsError(f"{path} is damaged: {what}", "copy or download the file again")


def read_header(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """(tensors by key, metadata) of a safetensors file; only the header is read.

    WeightsError naming the file when it is missing, truncated, or its header is not sound: the offsets must tile the
    data without gap or overlap (format: github.com/huggingface/safetensors).
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(8)
            if head.startswith(b"version "):
                raise damaged(path, "it is a Git LFS pointer, not the weights")
            if len(head) < 8:
                raise damaged(path, f"it has {size} bytes, fewer than any weights")
            length = struct.unpack("<Q", head)[0]
            if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise damaged(path, f"a header of {length} bytes in a file of {size}")
            text = stream.read(length)
    except OSError as fault:
        raise WeightsError(f"{path} cannot be read: {fault.strerror}", "check the path") from None
    try:
        header = json.loads(text, object_pairs_hook=_without_duplicates)
        metadata = header.pop("__metadata__", {})
        tensors = {key: _stored(path, key, record, 8 + length) for key, record in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise damaged(path, f"its header is not sound ({fault})") from None
    _check_tiling(path, tensors, 8 + length, size)
    return tensors, metadata if isinstance(metadata, dict) else {}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _stored(path: Path, key: str, record: dict[str, Any], start: int) -> StoredTensor:
    dtype, shape, (begin, end) = record["dtype"], tuple(record["shape"]), record["data_offsets"]
    if dtype not in DTYPE_BYTES:
        raise ValueError(f"{key} has the unknown dtype {dtype!r}")
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError(f"{key} has a shape or an offset that is not a count")
    if end - begin != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise ValueError(f"{key} has {end - begin} bytes for shape {list(shape)} of {dtype}")
    return StoredTensor(path, key, dtype, shape, start + begin, end - begin)


def _check_tiling(path: Path, tensors: dict[str, StoredTensor], start: int, size: int) -> None:
    at = start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.size_bytes)):
        if tensor.offset != at:
            how = "overlaps" if tensor.offset < at else "leaves a gap after"
            raise damaged(path, f"{tensor.key} {how} another tensor")
        at += tensor.size_bytes
    if at != size:
        how = "truncated" if size < at else "too long"
        raise damaged(path, f"{size} bytes long where its header speaks of {at}: {how}")


class SafetensorsFrame:
    """The bytes around the tensors of a safetensors file, and where each tensor goes.

    head: the first bytes. offsets: a byte position for each target, in order. Targets are given widest dtype first,
    so that every tensor is aligned to its own values.
    """

    needs_crc = False

    def __init__(self, targets: Sequence[Target], metadata: dict[str, str]) -> None:
        self.head = _header_bytes(targets, metadata)
        self.offsets: list[int] = []
        self.end = len(self.head)
        for target in targets:
            self.offsets.append(self.end)
            self.end += target.size_bytes

    def lead(self, index: int, crc: int) -> bytes:
        """What stands right before tensor `index`: nothing."""
        return b""

    def tail(self) -> bytes:
        """What stands after the last tensor: nothing."""
        return b""


def _header_bytes(targets: Sequence[Target], metadata: dict[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for target in targets:
        end = at + target.size_bytes
        header[target.key] = {"dtype": target.dtype, "shape": list(target.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
