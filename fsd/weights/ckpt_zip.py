"""The `.ckpt` file written by hand: a ZIP of stored entries around a pickle, as `torch.load` and the web UI read it.

torch 2.13 itself adds entries that the web UI's safe unpickler refuses; here are only the four kinds it knows:
archive/data.pkl, archive/byteorder, archive/data/N and archive/version (ZIP: PKWARE APPNOTE 6.3.10; pickle protocol 2:
PEP 307; tensors as torch._utils._rebuild_tensor_v2).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from fsd.weights.tensors import DTYPE_BYTES, Shape, Target

STORAGES = {
    "F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage", "I64": "LongStorage",
    "I32": "IntStorage", "I16": "ShortStorage", "I8": "CharStorage", "U8": "ByteStorage", "BOOL": "BoolStorage",
}  # fmt: skip
ALIGN_BYTES = 64
_FULL = 0xFFFFFFFF


class CkptFrame:
    """The bytes around the tensors of a `.ckpt`, and where each tensor goes (aligned to 64 bytes, as torch does).

    metadata: texts beside the "state_dict". zip64 fields are written where a size or an offset needs them.
    """

    needs_crc = True

    def __init__(self, targets: Sequence[Target], metadata: dict[str, str]) -> None:
        self._central: list[bytes] = []
        self.head = b""
        for name, content in (("archive/data.pkl", state_pickle(targets, metadata)), ("archive/byteorder", b"little")):
            self.head += self._entry(name, len(self.head), len(content), zlib.crc32(content)) + content
        self.offsets: list[int] = []
        self._starts: list[int] = []
        self._targets = targets
        at = len(self.head)
        for index, target in enumerate(targets):
            self._starts.append(at)
            at += len(_local(f"archive/data/{index}", at, target.size_bytes, 0))
            self.offsets.append(at)
            at += target.size_bytes
        self._end = at

    def lead(self, index: int, crc: int) -> bytes:
        """The local header of tensor `index`, whose bytes have the CRC-32 `crc`; called once a tensor, in order."""
        return self._entry(f"archive/data/{index}", self._starts[index], self._targets[index].size_bytes, crc)

    def tail(self) -> bytes:
        """The last entry and the central directory."""
        last = self._entry("archive/version", self._end, 2, zlib.crc32(b"3\n")) + b"3\n"
        directory = b"".join(self._central)
        return last + directory + _end_records(len(self._central), self._end + len(last), len(directory))

    def _entry(self, name: str, at: int, size: int, crc: int) -> bytes:
        large = struct.pack("<QQ", size, size) if size >= _FULL else b""
        large += struct.pack("<Q", at) if at >= _FULL else b""
        extra = struct.pack("<HH", 1, len(large)) + large if large else b""
        short, lengths = min(size, _FULL), (len(name), len(extra), 0, 0, 0)
        fixed = struct.pack("<4s6H3I", b"PK\1\2", 45, 45, 0, 0, 0, 0x21, crc, short, short)
        self._central.append(fixed + struct.pack("<5HII", *lengths, 0, min(at, _FULL)) + name.encode() + extra)
        return _local(name, at, size, crc)


def _local(name: str, at: int, size: int, crc: int) -> bytes:
    """A local header at byte `at`, padded by an "FB" field, as torch writes it, so that the content is aligned."""
    large = struct.pack("<HHQQ", 1, 16, size, size) if size >= _FULL else b""
    padding = -(at + 30 + len(name) + len(large) + 4) % ALIGN_BYTES
    extra = large + struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    short = min(size, _FULL)
    fixed = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 0, 0, 0x21, crc, short, short, len(name), len(extra))
    return fixed + name.encode() + extra


def _end_records(count: int, start: int, size: int) -> bytes:
    """The end of the central directory; preceded by the zip64 one where counts or offsets need it."""
    found = b""
    if count >= 0xFFFF or start >= _FULL or size >= _FULL:
        found = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
        found += struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    short = min(count, 0xFFFF)
    return found + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, short, short, min(size, _FULL), min(start, _FULL), 0)


def state_pickle(targets: Sequence[Target], metadata: dict[str, str]) -> bytes:
    """{"state_dict": tensors, "metadata": texts} as a pickle of protocol 2; storage N is the entry archive/data/N."""
    state = b"".join(_text(target.key) + _tensor(index, target) for index, target in enumerate(targets))
    texts = b"".join(_text(name) + _text(value) for name, value in metadata.items())
    return b"\x80\x02}(" + _text("state_dict") + b"}(" + state + b"u" + _text("metadata") + b"}(" + texts + b"uu."


def _tensor(index: int, target: Target) -> bytes:
    numbers = target.size_bytes // DTYPE_BYTES[target.dtype]
    storage = b"(" + _text("storage") + _global("torch", STORAGES[target.dtype]) + _text(str(index)) + _text("cpu")
    hooks = _global("collections", "OrderedDict") + b")R"
    parts = storage + _integer(numbers) + b"tQ" + _integer(0) + _tuple(target.shape) + _tuple(strides(target.shape))
    return _global("torch._utils", "_rebuild_tensor_v2") + b"(" + parts + b"\x89" + hooks + b"tR"


def strides(shape: Shape) -> Shape:
    """The steps, in values, between neighbours along each axis of a row-major tensor."""
    found: list[int] = []
    step = 1
    for length in reversed(shape):
        found.insert(0, step)
        step *= max(length, 1)
    return tuple(found)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _integer(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(encoded)]) + encoded


def _tuple(values: Shape) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
