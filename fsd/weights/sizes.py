"""How large a stage's checkpoints will be, and how many numbers a part of a model holds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

from fsd.runtime import files
from fsd.runtime.space import Need
from fsd.runtime.spool.local_first import twin
from fsd.weights.keys import get_layout, part_names
from fsd.weights.output import DTYPES
from fsd.weights.parts import weight_files
from fsd.weights.tensors import DTYPE_BYTES
from fsd.weights.weight_file import read_weights

OPTIMIZER_BYTES = {"adamw": 8, "adamw8bit": 2, "lion": 4, "lion8bit": 1, "adafactor": 1, "prodigy": 16}
"""Bytes of state a number that is trained: AdamW keeps two fp32 moments, its 8-bit form two of a byte each; of Adafactor's
rows and columns at most so much."""
_WEIGHT_BYTES = 4


def checkpoint_bytes(numbers: int, optimizer: str, average: bool = False) -> int:
    """The size of a checkpoint of so many trained numbers with its optimizer state, in bytes.

    optimizer: as in the recipe; "auto" counts as AdamW. average: whether a moving average of the weights is kept too.
    """
    return numbers * (_WEIGHT_BYTES * (2 if average else 1) + OPTIMIZER_BYTES.get(optimizer, OPTIMIZER_BYTES["adamw"]))


def ckpt_needs(session: Path, parts: Mapping[str, Path], layout: str, dtype: str) -> list[Need]:
    """What the trained model as one file will need, in the session's folder and in its local twin. dtype: its numbers'."""
    numbers = sum(parameters(parts[name]) for name in part_names(get_layout(layout), ()) if name in parts)
    return [
        Need("the CKPT", place, numbers * DTYPE_BYTES[DTYPES[dtype]]) for place in (session, twin(session)) if place
    ]


def lora_needs(session: Path, numbers: int) -> list[Need]:
    """What a trained LoRA of so many numbers will need as a file, in the session's folder and in its local twin."""
    return [Need("the LoRA", place, numbers * _WEIGHT_BYTES) for place in (session, twin(session)) if place]


def parameters(part: Path) -> int:
    """How many numbers the weight files of a part hold; only headers are read."""
    return sum(math.prod(shape) for shape in _shapes(part).values())


def numbers_in(file: Path) -> int:
    """How many numbers a weight file holds; only its header is read."""
    return sum(math.prod(tensor.shape) for tensor in read_weights(file)[0].values())


def lora_parameters(part: Path, targets: Collection[str], rank: int) -> int:
    """How many numbers a LoRA on a part holds. targets: the ends of the names of the layers that it changes."""
    weights = {name.removesuffix(".weight"): shape for name, shape in _shapes(part).items() if name.endswith(".weight")}
    changed = [shape for name, shape in weights.items() if any(f".{name}".endswith(f".{end}") for end in targets)]
    return sum(rank * (shape[0] + math.prod(shape[1:])) for shape in changed)


def _shapes(part: Path) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for file in weight_files(part) for name, tensor in read_weights(file)[0].items()}


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
