"""Weight files of holes: a true header, the right size, and no values on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fsd.weights.ckpt_zip import CkptFrame
from fsd.weights.tensors import SafetensorsFrame, Target

Outline = Mapping[str, tuple[int, ...]]


def sparse_file(path: Path, outline: Outline, dtype: str = "F16", metadata: Mapping[str, str] | None = None) -> Path:
    """`path`, a .safetensors or .ckpt that holds zeros of these keys and shapes."""
    targets = [Target(key, dtype, shape, ()) for key, shape in outline.items()]
    frame = (CkptFrame if path.suffix == ".ckpt" else SafetensorsFrame)(targets, dict(metadata or {}))
    with path.open("wb") as file:
        file.write(frame.head)
        for index, offset in enumerate(frame.offsets):
            lead = frame.lead(index, 0)
            file.seek(offset - len(lead))
            file.write(lead)
        end = frame.offsets[-1] + targets[-1].size_bytes if targets else len(frame.head)
        file.truncate(end)
        file.seek(end)
        file.write(frame.tail())
    return path


def write_values(path: Path, offset: int, content: bytes) -> None:
    """Put bytes at a place of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
