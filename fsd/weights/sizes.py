"""How large a stage's checkpoints will be, told from the headers of the base model's files."""

from __future__ import annotations

from pathlib import Path

from fsd.weights.parts import weight_files
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
