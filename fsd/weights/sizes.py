"""How large a stage's checkpoints will be, told from the headers of the base model's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fsd.runtime import files
from fsd.runtime.space import Need
from fsd.runtime.spool.local_first import twin
from fsd.weights.keys import get_layout, part_names
from fsd.weights.output import DTYPES
from fsd.weights.parts import weight_files
from fsd.weights.tensors import DTYPE_BYTES
from fsd.weights.weight_file import read_weights

OPTIMIZER_BYTES = {"adamw": 8, "adamw8bit": 2}
"""Bytes of state a parameter: AdamW keeps two fp32 moments; 8-bit AdamW two of a byte each."""
_WEIGHT_BYTES = 4


def checkpoint_bytes(part: Path, optimizer: str, extra: tuple[Path, ...] = ()) -> int:
    """The size of a checkpoint with its optimizer state, in bytes. part: the trained part's folder.

    optimizer: as in the recipe once "auto" is settled; one that is not known here counts as AdamW. extra: the folders of
    other parts that are trained along.
    """
    state = OPTIMIZER_BYTES.get(optimizer, max(OPTIMIZER_BYTES.values()))
    return sum(parameters(folder) for folder in (part, *extra)) * (_WEIGHT_BYTES + state)


def ckpt_needs(session: Path, parts: Mapping[str, Path], layout: str, dtype: str) -> list[Need]:
    """What the trained model as one file will need, in the session's folder and in its local twin. dtype: its numbers'."""
    numbers = sum(parameters(parts[name]) for name in part_names(get_layout(layout), ()) if name in parts)
    return [
        Need("the CKPT", place, numbers * DTYPE_BYTES[DTYPES[dtype]]) for place in (session, twin(session)) if place
    ]


def parameters(part: Path) -> int:
    """How many numbers the weight files of a part hold; only headers are read."""
    total = 0
    for file in weight_files(part):
        for tensor in read_weights(file)[0].values():
            count = 1
            for side in tensor.shape:
                count *= side
            total += count
    return total


def checkpoint_needs(checkpoints: Path, stage: str, one_bytes: int, keep: int) -> list[Need]:
    """What a stage's checkpoints will need, for `space.need_room`: less what those that are there hold already.

    one_bytes: the size of one. keep: how many stay. While one is written there is one more; on Drive two stay at least.
    """
    local = twin(checkpoints)
    places = [(checkpoints, max(keep, 2)), (local, keep)] if local else [(checkpoints, keep)]
    needs = []
    for place, count in places:
        there = sum(files.size_bytes(folder) for folder in place.glob(f"{stage}-*"))
        size_bytes = max(one_bytes * (count + 1) - there, one_bytes)
        needs.append(Need(f"{count + 1} checkpoints of the {stage.replace('_', ' ')} stage", place, size_bytes))
    return needs
