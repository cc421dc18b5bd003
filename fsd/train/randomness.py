"""Randomness as a function: every draw is f(seed, stage, step, slot), so that nothing random has to be saved.

All draws are made on the CPU, so that they do not depend on the device that trains.
"""

from __future__ import annotations

import hashlib

import torch


def generator(*key: object) -> torch.Generator:
    """A CPU generator in a state that depends on `key` alone."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def pick(count: int, position: int, *key: object) -> int:
    """Which of `count` items is number `position` (from 0) in an endless shuffled order: each once an epoch."""
    epoch, offset = divmod(position, count)
    return int(torch.randperm(count, generator=generator(*key, "order", epoch))[offset])
