"""Data-parallel training on a few cores: one single-thread process a core, gradients averaged once a step, which other loads disturb least."""

import ctypes
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist


def start(train: Callable, workers: int, *args) -> None:
    """Runs train(rank, *args) in `workers` processes of one thread each."""
    meeting = Path(tempfile.mkdtemp()) / "meeting"
    torch.multiprocessing.spawn(_worker, (train, workers, str(meeting), args), nprocs=workers)


def keep_memory() -> None:
    """Tells glibc's malloc to keep freed memory: returning it to the system after each operation costs half of a training step."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(option, value)
    except OSError:
        pass  # another C library: slower, not wrong


def _worker(rank: int, train: Callable, workers: int, meeting: str, args: tuple) -> None:
    torch.set_num_threads(1)
    keep_memory()
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    train(rank, *args)
    dist.barrier()
    dist.destroy_process_group()


def summed(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The sums of the tensors over the workers, in one exchange."""
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    return [part.view(t.shape) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=False)]


def average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the workers."""
    for parameter, total in zip(parameters, summed([p.grad for p in parameters]), strict=False):
        parameter.grad = total.div_(count())


def agreed(value: float) -> float:
    """Rank 0's value in every worker, so that all follow one schedule."""
    box = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(box, 0)
    return box.item()


def count() -> int:
    """The number of workers."""
    return dist.get_world_size()


def rank() -> int:
    """This worker's number, from 0."""
    return dist.get_rank()
