"""The matrices of a LoRA: what a layer adds is scale * up @ down, and this keeps it so while layers are joined and cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fsd.errors import WeightsError
from fsd.weights.cast import caster
from fsd.weights.lora_names import Module
from fsd.weights.tensors import StoredTensor

if TYPE_CHECKING:
    from numpy import ndarray

KINDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""How numpy holds each dtype; it has no bf16, whose bits move as they are and are only read where it is scaled."""


@dataclass(frozen=True)
class LoraLayer:
    """The change of one layer: scale * up @ down. down: [rank, reads, ...]; up: [rows, rank, ...], both of `dtype`."""

    down: ndarray
    up: ndarray
    dtype: str
    scale: float

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])


def load(tensor: StoredTensor) -> ndarray:
    """The values of a tensor; WeightsError for a dtype that LoRA files do not have."""
    import numpy as np

    if tensor.dtype not in KINDS:
        what = f"{tensor.key} of {tensor.file} has dtype {tensor.dtype}"
        raise WeightsError(what, f"a LoRA's are {', '.join(KINDS)}")
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.offset)
        return np.frombuffer(stream.read(tensor.size_bytes), KINDS[tensor.dtype]).reshape(tensor.shape)


def cast(values: ndarray, old: str, new: str) -> ndarray:
    """The same values in another dtype, rounded to even."""
    import numpy as np

    change = caster(old, new)
    return np.frombuffer(change(values.tobytes()), KINDS[new]).reshape(values.shape) if change else values


def scaled(layer: LoraLayer, scale: float) -> LoraLayer:
    """The same change with another scale; what is left of the old one goes into `up`.

    Scale 1 is what loaders that know no alpha apply. WeightsError if fp16 cannot hold the values.
    """
    import numpy as np

    if layer.scale == scale:
        return layer
    try:
        up = cast(cast(layer.up, layer.dtype, "F32") * np.float32(layer.scale / scale), "F32", layer.dtype)
    except OverflowError:
        raise WeightsError("a LoRA's scale makes values that fp16 cannot hold", "save it as fp32 first") from None
    return replace(layer, up=up, scale=scale)


def joined(parts: Sequence[LoraLayer | None], module: Module) -> LoraLayer:
    """One layer from those that stand below each other in `module`; None is a part that the LoRA leaves as it is.

    Where all read through the same `down`, it is kept; otherwise the ranks add up, and `up` has a block for each.
    """
    import numpy as np

    there = _alike([part for part in parts if part])
    one, reads = there[0], there[0].down.shape[1]
    shared = all(np.array_equal(part.down, one.down) for part in there)
    down = one.down if shared else np.concatenate([part.down for part in there])
    blocks, at, left = [], 0, iter(there)
    for part, ratio in zip(parts, module.ratios, strict=True):
        if part is None:
            blocks.append(np.zeros((round(ratio * reads), *down.shape[:1], *one.up.shape[2:]), one.up.dtype))
            continue
        held = next(left)
        block = np.zeros((held.up.shape[0], *down.shape[:1], *one.up.shape[2:]), one.up.dtype)
        block[:, at : at + held.rank] = held.up
        at += 0 if shared else held.rank
        blocks.append(block)
    return LoraLayer(down, np.concatenate(blocks), one.dtype, one.scale)


def cut(layer: LoraLayer, module: Module) -> dict[str, LoraLayer]:
    """The layers of `module` by name, each with the ranks that it uses; one that uses none is left as it is."""
    import numpy as np

    rows = [ratio * layer.up.shape[0] / sum(module.ratios) for ratio in module.ratios]
    if any(row != int(row) for row in rows):
        what = f"{module.kohya} has {layer.up.shape[0]} rows, which {len(rows)} layers cannot share"
        raise WeightsError(what, "this LoRA is of another model")
    found, at = {}, 0
    for name, count in zip(module.names, map(int, rows), strict=True):
        up = layer.up[at : at + count]
        used = np.flatnonzero(up.reshape(count, layer.rank, -1).any(axis=(0, 2)))
        at += count
        if len(used):
            found[name] = replace(layer, down=layer.down[used], up=up[:, used])
    return found


def turned(layer: LoraLayer, module: Module) -> LoraLayer:
    """The layer for the other code base: the halves of its rows change places where `module` says so."""
    import numpy as np

    rows, reads = layer.up.shape[0], layer.down.shape[1]
    return replace(layer, up=np.roll(layer.up, rows // 2, axis=0)) if module.halves and rows == 2 * reads else layer


def _alike(parts: list[LoraLayer]) -> list[LoraLayer]:
    """The layers with one dtype and one scale: fp32 and 1 where they differ."""
    if len({part.dtype for part in parts}) > 1:
        parts = [
            replace(part, down=cast(part.down, part.dtype, "F32"), up=cast(part.up, part.dtype, "F32"), dtype="F32")
            for part in parts
        ]
    return [scaled(part, 1) for part in parts] if len({part.scale for part in parts}) > 1 else parts
