"""Tensors copied from files to a file with bounded buffers, and read back by a second thread as they are written."""

from __future__ import annotations

import errno
import os
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from fsd.errors import WeightsError
from fsd.weights.cast import Cast, caster
from fsd.weights.tensors import StoredTensor, Target, damaged

CHUNK_BYTES = 128 << 10
"""Small enough to stay in the processor's cache."""
_FLUSH_BYTES = 256 << 20
_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_NOT_HERE = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}


class Frame(Protocol):
    """A file format: the bytes around the tensors. `lead` is written right before its tensor, once the CRC is known."""

    needs_crc: bool
    head: bytes
    offsets: list[int]

    def lead(self, index: int, crc: int) -> bytes: ...

    def tail(self) -> bytes: ...


def write_tensors(
    path: Path, frame: Frame, targets: Sequence[Target], tell: Callable[[int], object] = lambda size_bytes: None
) -> None:
    """Write `targets` inside `frame` to `path`; each tensor is read back and compared with what was meant.

    tell: told how many bytes of the sources each tensor took. Memory: a few chunks, whatever the tensors' size.
    WeightsError if a source ends early, if a cast overflows, or if what is read back differs.
    """
    with (
        path.open("wb") as out, _Sources() as sources, _Sources() as again,
        ThreadPoolExecutor(1) as second, ThreadPoolExecutor(1) as third,
    ):  # fmt: skip
        out.write(frame.head)
        out.flush()
        pending: list[Future[None]] = []
        flushed = 0
        for index, target in enumerate(targets):
            at, crc = frame.offsets[index], 0
            changed = target.transposed or any(source.dtype != target.dtype for source in target.sources)
            for source in target.sources:
                cast = caster(source.dtype, target.dtype)
                if changed or frame.needs_crc:
                    chunks = turned(sources, source) if target.transposed else sources.chunks(source)
                    crc, at = _pump(chunks, source, cast, out.fileno(), at, crc, target)
                else:
                    at = copy_range(sources, source, out.fileno(), at)
            lead = frame.lead(index, crc)
            _write_at(out.fileno(), lead, frame.offsets[index] - len(lead))
            pending.append(second.submit(_check, again, path, target, frame.offsets[index], crc if changed else None))
            tell(sum(source.size_bytes for source in target.sources))
            if frame.offsets[index] - flushed > _FLUSH_BYTES:
                flushed = frame.offsets[index]
                pending.append(third.submit(_flush, out.fileno()))
            while pending and pending[0].done():
                pending.pop(0).result()
        for future in pending:
            future.result()
        end = frame.offsets[-1] + targets[-1].size_bytes if targets else len(frame.head)
        _write_at(out.fileno(), frame.tail(), end)


def _flush(descriptor: int) -> None:
    """Have the disk begin with what is there, so that the last sync has little left to wait for."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


class _Sources:
    """The source files, each opened once."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}

    def __enter__(self) -> _Sources:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def descriptor(self, path: Path) -> int:
        if path not in self._open:
            self._open[path] = os.open(path, os.O_RDONLY)
        return self._open[path]

    def chunks(self, source: StoredTensor) -> Iterator[bytes]:
        """The bytes of a tensor, at most CHUNK_BYTES at a time; WeightsError if the file ends early."""
        descriptor, at, end = self.descriptor(source.file), source.offset, source.offset + source.size_bytes
        while at < end:
            chunk = _read_at(descriptor, min(CHUNK_BYTES, end - at), at)
            if not chunk:
                raise damaged(source.file, f"it ends inside {source.key}")
            yield chunk
            at += len(chunk)


def _check(files: _Sources, path: Path, target: Target, offset: int, crc: int | None) -> None:
    """Read a tensor back and compare it with its CRC-32, or with its sources where there is none."""
    if crc is None:
        same, at = True, offset
        for source in target.sources:
            written = files.chunks(StoredTensor(path, target.key, target.dtype, (), at, source.size_bytes))
            same = same and all(one == two for one, two in zip(written, files.chunks(source), strict=True))
            at += source.size_bytes
    else:
        total = 0
        for chunk in files.chunks(StoredTensor(path, target.key, target.dtype, (), offset, target.size_bytes)):
            total = zlib.crc32(chunk, total)
        same = total == crc
    if not same:
        what = f"{target.key} was not written as it was meant"
        raise WeightsError(what, "the disk may be full or failing; try another")


def copy_range(sources: _Sources, source: StoredTensor, out: int, at: int) -> int:
    """Copy a tensor to byte `at` of the open file `out` and return where it ends: inside the kernel where it can."""
    done, inside = 0, hasattr(os, "copy_file_range")
    descriptor = sources.descriptor(source.file)
    while inside and done < source.size_bytes:
        try:
            count = os.copy_file_range(descriptor, out, source.size_bytes - done, source.offset + done, at + done)
        except OSError as fault:
            if fault.errno not in _NOT_HERE:
                raise
            count = 0
        inside = count > 0
        done += count
    rest = StoredTensor(source.file, source.key, source.dtype, (), source.offset + done, source.size_bytes - done)
    for chunk in sources.chunks(rest):
        _write_at(out, chunk, at + done)
        done += len(chunk)
    return at + done


def turned(sources: _Sources, source: StoredTensor) -> Iterator[bytes]:
    """The bytes of a matrix column by column; all of it is held in memory, twice."""
    rows, columns = source.shape
    code = _WIDTHS[source.size_bytes // (rows * columns)]
    values, found = array(code, b"".join(sources.chunks(source))), array(code, bytes(source.size_bytes))
    for row in range(rows):
        found[row::rows] = values[row * columns : (row + 1) * columns]
    content = found.tobytes()
    for at in range(0, len(content), CHUNK_BYTES):
        yield content[at : at + CHUNK_BYTES]


def _pump(
    chunks: Iterable[bytes], source: StoredTensor, cast: Cast | None, out: int, at: int, crc: int, target: Target
) -> tuple[int, int]:
    """(CRC-32, where it ends) of a tensor that is cast, turned or summed, on its way to byte `at` of `out`."""
    for chunk in chunks:
        try:
            chunk = cast(chunk) if cast else chunk
        except OverflowError:
            name = {"F16": "fp16", "BF16": "bf16"}[target.dtype]
            what = f"{target.key} of {source.file} has values that {name} cannot hold, or that are no numbers"
            raise WeightsError(what, "save it as fp32") from None
        crc = zlib.crc32(chunk, crc)
        _write_at(out, chunk, at)
        at += len(chunk)
    return crc, at


def _read_at(descriptor: int, count: int, at: int) -> bytes:
    content = os.pread(descriptor, count, at)
    while 0 < len(content) < count and (more := os.pread(descriptor, count - len(content), at + len(content))):
        content += more
    return content


def _write_at(descriptor: int, content: bytes, at: int) -> None:
    view = memoryview(content)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done
