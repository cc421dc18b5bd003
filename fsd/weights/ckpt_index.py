"""The tensors of a `.ckpt` as places in the file, found without executing anything.

The pickle is read by the standard library's pure-Python reader with every name replaced by an inert record of ours;
a name outside the short list is refused before anything happens, and attributes are never set.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from fsd.errors import WeightsError
from fsd.weights.ckpt_zip import STORAGES, strides
from fsd.weights.tensors import DTYPE_BYTES, Shape, StoredTensor, damaged

MAX_PICKLE_BYTES = 64 << 20


def read_index(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a `.ckpt`'s "state_dict" (or of the whole dictionary) by key; only the pickle is read.

    WeightsError naming the file when it is missing, damaged, of torch's format before 1.6, or would run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            places = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in places if name.split("/")[-1] == "data.pkl"]
            twice = len(places) != len(archive.infolist())
            if len(pickles) != 1 or twice or places[pickles[0]].file_size > MAX_PICKLE_BYTES:
                raise damaged(path, "it has not one data.pkl")
            content = archive.read(pickles[0])
    except OSError as fault:
        raise WeightsError(f"{path} cannot be read: {fault.strerror}", "check the path") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as fault:
        raise damaged(path, f"it is no ZIP of PyTorch 1.6 or later ({fault})") from None
    state = _state(path, content)
    root = pickles[0].removesuffix("data.pkl")
    with path.open("rb") as stream:
        return {key: _placed(path, stream, places, root, key, tensor) for key, tensor in state.items()}


class _Storage(NamedTuple):
    dtype: str
    name: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: Shape
    strides: Shape


class _Nothing:
    """Stands for what a training framework left beside the weights."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


def _tensor(storage: _Storage, offset: int, shape: Shape, steps: Shape, *_: object) -> _Tensor:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(steps, tuple):
        raise ValueError("a tensor without a storage")
    return _Tensor(storage, offset, shape, steps)


def _parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"): _Nothing,
    ("numpy.core.multiarray", "scalar"): _Nothing,
    ("numpy._core.multiarray", "scalar"): _Nothing,
    ("numpy", "dtype"): _Nothing,
    ("_codecs", "encode"): _Nothing,
    **{("torch", storage): dtype for dtype, storage in STORAGES.items()},
}


class _Reader(pickle._Unpickler):
    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            hint = "do not open it anywhere; get the model from a source you trust"
            raise WeightsError(f"it would run {module}.{name}", hint)
        return _KNOWN[module, name]

    def persistent_load(self, record: Any) -> _Storage:
        kind, dtype, name, *_ = record
        if kind != "storage" or dtype not in STORAGES or not isinstance(name, str):
            raise ValueError("a storage of an unknown kind")
        return _Storage(dtype, name)

    def _forget_state(self) -> None:
        self.stack.pop()

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: _forget_state}


def _state(path: Path, content: bytes) -> dict[str, _Tensor]:
    try:
        found = _Reader(io.BytesIO(content)).load()
        while isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
            found = found["state_dict"]
        return {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, _Tensor)}
    except WeightsError as fault:
        raise WeightsError(f"{path} is refused: {fault.message}", fault.hint) from None
    except (Exception, RecursionError) as fault:
        raise damaged(path, f"its data.pkl is not sound ({type(fault).__name__}: {fault})") from None


def _placed(
    path: Path, stream: io.BufferedIOBase, places: dict[str, zipfile.ZipInfo], root: str, key: str, tensor: _Tensor
) -> StoredTensor:
    info = places.get(f"{root}data/{tensor.storage.name}")
    if info is None or info.compress_type != zipfile.ZIP_STORED:
        raise damaged(path, f"the values of {key} are missing or compressed")
    shape, item = tensor.shape, DTYPE_BYTES[tensor.storage.dtype]
    if not all(type(number) is int and number >= 0 for number in (tensor.offset, *shape)):
        raise damaged(path, f"{key} has a shape or an offset that is not a count")
    rows = strides(shape)
    if tensor.strides != rows and any(a != b for a, b, n in zip(tensor.strides, rows, shape, strict=False) if n > 1):
        raise WeightsError(f"{key} of {path} is not stored in rows", "save it again with PyTorch, made contiguous")
    begin, size = tensor.offset * item, math.prod(shape) * item
    stream.seek(info.header_offset)
    local = stream.read(30)
    if begin + size > info.file_size or len(local) < 30 or local[:4] != b"PK\3\4":
        raise damaged(path, f"{key} does not fit into its storage")
    start = info.header_offset + 30 + sum(struct.unpack("<HH", local[26:30]))
    return StoredTensor(path, key, tensor.storage.dtype, shape, start + begin, size)
