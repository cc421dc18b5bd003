"""Work in batches as large as memory takes, over any number of pictures, which are read ahead of it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

from fsd.runtime import report

Item = TypeVar("Item")
Made = TypeVar("Made")

FIRST, MOST = 8, 128
"""How many pictures the first batch has, and how many a batch has at most, which is found by trying."""


def in_batches(
    items: Iterable[Item], work: Callable[[list[Item]], list[Made]], size: int = 0
) -> Iterator[tuple[Item, Made]]:
    """Each item with what `work` made of it, in their order; `work` gets a batch of them at once.

    size: the most in a batch (0: found by trying: doubled on a GPU while it fits). A batch for which memory is too small
    is done again in halves, and none is larger from then on. What is too much for memory alone is raised.
    """
    size, grows = size or FIRST, not size and torch.cuda.is_available()
    source = iter(items)
    while batch := list(islice(source, size)):
        done = 0
        while done < len(batch):
            part = batch[done : done + size]
            try:
                made = work(part)
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                size, grows = len(part) // 2, False
                report.say(f"memory is too small for {len(part)} pictures at once: {size} from here on")
                made = []
            if not made:  # outside of the except block, whose traceback holds what filled the memory
                _free()
                continue
            yield from zip(part, made, strict=True)
            done += len(part)
        size = min(2 * size, MOST) if grows else size


def ahead(items: Iterable[Item], read: Callable[[Item], Made], depth: int = MOST) -> Iterator[Made]:
    """What `read` makes of each item, in their order, read by threads while earlier ones are worked on; `depth` are kept."""
    source = iter(items)
    with ThreadPoolExecutor(2) as threads:
        waiting: list[Future[Made]] = [threads.submit(read, item) for item in islice(source, depth)]
        while waiting:
            made = waiting.pop(0).result()
            waiting += [threads.submit(read, item) for item in islice(source, 1)]
            yield made


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
