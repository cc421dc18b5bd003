"""How much memory a computation needs, found by doing it on tensors that have a shape and no content ("meta")."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Inside, counts the bytes of all tensors that were made there and are alive. peak: the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: set[int] = set()  # also of what was there before, such as weights

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor):
                self._seen.add(tensor.untyped_storage()._cdata)
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        size_bytes = storage.nbytes()
        self.live += size_bytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key, size_bytes)

    def _gone(self, key: int, size_bytes: int) -> None:
        self._seen.discard(key)
        self.live -= size_bytes


@contextmanager
def attention_on(device: str) -> Iterator[None]:
    """Have attention keep what it keeps on a device: on a GPU the matrix of all pairs is never made (Dao et al. 2022)."""

    def attend(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        found: Tensor = _Attention.apply(query, key, value)
        return found

    if device == "cpu":
        yield
        return
    with patch.object(torch.nn.functional, "scaled_dot_product_attention", attend):
        yield


class _Attention(torch.autograd.Function):
    """Shapes alone: keeps its inputs, its output and a number a row, as the fused kernels do."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        context.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        query, key, value = context.saved_tensors[:3]
        return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)
