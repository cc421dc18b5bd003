"""A weight file of either format, told by its first bytes: what a file is called proves nothing."""

from __future__ import annotations

from pathlib import Path

from fsd.errors import WeightsError
from fsd.weights import ckpt_index
from fsd.weights.tensors import StoredTensor, read_header

_PICKLES = (b"PK\3\4", b"PK\5\6", b"\x80")
_OTHERS = (
    (b"GGUF", "a GGUF file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
)


def read_weights(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """(tensors by key, metadata) of a safetensors file or a `.ckpt`; nothing is executed, no values are read.

    WeightsError naming the file when it is missing, damaged, of another format, or would run code.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as fault:
        raise WeightsError(f"{path} cannot be read: {fault.strerror}", "check the path") from None
    if head[8:9] == b"{":  # the eight bytes before are the header's length, whatever they look like
        return read_header(path)
    for start, what in _OTHERS:
        if head.startswith(start):
            raise WeightsError(f"{path} is {what}, not weights", "get the model as .safetensors")
    return ckpt_index.read_ckpt(path) if head.startswith(_PICKLES) else read_header(path)
