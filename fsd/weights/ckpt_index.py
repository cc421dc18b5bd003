"""The tensors of a `.ckpt` as places in the file, found without executing anything.

The pickle is read by the standard library's pure-Python reader with every name replaced by an inert record of ours;
a name outside the short list is refused before anything happens, and attributes are never set.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from fsd.errors import WeightsError
from fsd.weights.ckpt_members import read_members
from fsd.weights.ckpt_zip import STORAGES, strides
from fsd.weights.tensors import DTYPE_BYTES, Shape, StoredTensor, damaged

MAX_AXES = 64


def read_index(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a `.ckpt`'s "state_dict" (or of the whole dictionary) by key; only the pickle is read.

    WeightsError naming the file when it is missing, damaged, of torch's format before 1.6, or would run code.
    """
    return read_ckpt(path)[0]


def read_ckpt(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """(tensors by key, the texts and numbers beside them by name) of a `.ckpt`, as `read_header` of a safetensors file.

    The texts are those of the outermost dictionary and of its "metadata"; a number is given as text.
    """
    try:
        members = read_members(path)
    except OSError as fault:
        raise WeightsError(f"{path} cannot be read: {fault.strerror}", "check the path") from None
    state, notes = _state(path, members.pickle)
    return {key: _placed(path, members.storages, key, tensor) for key, tensor in state.items()}, notes


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


def _state(path: Path, content: bytes) -> tuple[dict[str, _Tensor], dict[str, str]]:
    try:
        found = _Reader(io.BytesIO(content)).load()
        notes = _notes(found) | _notes(found.get("metadata", {}))
        while isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
            found = found["state_dict"]
        found |= {f"string_to_param.{name}": value for name, value in dict(found.get("string_to_param", {})).items()}
        return {
            key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, _Tensor)
        }, notes
    except WeightsError as fault:
        raise WeightsError(f"{path} is refused: {fault.message}", fault.hint) from None
    except (Exception, RecursionError) as fault:
        raise damaged(path, f"its data.pkl is not sound ({type(fault).__name__}: {fault})") from None


def _notes(found: object) -> dict[str, str]:
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: str(value) for key, value in pairs if isinstance(key, str) and isinstance(value, str | int | float)}


def _placed(path: Path, storages: dict[str, tuple[int, int]], key: str, tensor: _Tensor) -> StoredTensor:
    if tensor.storage.name not in storages:
        raise damaged(path, f"the values of {key} are missing or compressed")
    shape, item = tensor.shape, DTYPE_BYTES[tensor.storage.dtype]
    counts = (tensor.offset, *shape)
    if len(counts) > MAX_AXES or not all(type(number) is int and number >= 0 for number in counts):
        raise damaged(path, f"{key} has a shape or an offset that is not a count")
    rows = strides(shape)
    if tensor.strides != rows and any(a != b for a, b, n in zip(tensor.strides, rows, shape, strict=False) if n > 1):
        raise WeightsError(f"{key} of {path} is not stored in rows", "save it again with PyTorch, made contiguous")
    (start, held), begin, size = storages[tensor.storage.name], tensor.offset * item, math.prod(shape) * item
    if begin + size > held:
        raise damaged(path, f"{key} does not fit into its storage")
    return StoredTensor(path, key, tensor.storage.dtype, shape, start + begin, size)
