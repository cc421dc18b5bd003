"""Several processes on one stage, as `accelerate launch` starts them: all compute, the first one writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn

from fsd.data.lock import writing
from fsd.data.session import Session
from fsd.runtime import report
from fsd.runtime.spool.spool import Spool
from fsd.train.sharding import is_sharded
from fsd.weights.set_aside import taking_turn

PARALLEL = DistributedDataParallelKwargs(find_unused_parameters=True)
"""The last layers of some text encoders have no part in what the backbone reads."""


def processes() -> PartialState:
    """The processes of this run, met with; on a machine without a GPU by gloo."""
    return PartialState(cpu=not torch.accelerator.is_available())


@contextmanager
def main_first() -> Iterator[None]:
    """Let the first process go ahead, so that the others find what it made; what it fails of they then find, too."""
    state = processes()
    if not state.is_main_process:
        state.wait_for_everyone()
    try:
        yield
    finally:
        if state.is_main_process:
            state.wait_for_everyone()


class Network(nn.Module):
    """All networks of a stage as one, so that their gradients are shared at once. compute: what they do together."""

    def __init__(self, parts: dict[str, nn.Module], compute: Callable[..., Any]) -> None:
        super().__init__()
        self.parts, self._compute = nn.ModuleDict(parts), compute
        blocks = {name for part in parts.values() for name in getattr(part, "_no_split_modules", None) or ()}
        self._no_split_modules = sorted(blocks & {type(module).__name__ for module in self.modules()})

    def forward(self, *given: Any) -> Any:
        return self._compute(*given)


def prepared(parts: dict[str, nn.Module], compute: Callable[..., Any], accelerator: Accelerator) -> nn.Module:
    """The networks as Accelerate runs them; the parts themselves stay as they are, to be read and saved.

    FSDP takes them later, with the optimizer: see `prepared_optimizer`.
    """
    network = Network(parts, compute)
    if is_sharded(accelerator):
        return network
    found: nn.Module = accelerator.prepare(network)
    return found


def prepared_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, accelerator: Accelerator
) -> torch.optim.Optimizer:
    """The optimizer as Accelerate runs it. FSDP shards the network in place with it: its weights are others then."""
    if is_sharded(accelerator):
        network, optimizer = accelerator.prepare(network, optimizer)
        return optimizer
    found: torch.optim.Optimizer = accelerator.prepare(optimizer)
    return found


@contextmanager
def writer(session: Session) -> Iterator[Spool | None]:
    """The session's only writer and its way to Drive; in all processes but the first None, and silence."""
    if int(os.environ.get("RANK", "0")):  # as torchrun and accelerate launch number them
        report.mute()
        yield None
        return
    with writing(session), taking_turn(session.folder) as spool:
        yield spool


@contextmanager
def stop_signals(accelerator: Accelerator) -> Iterator[Callable[[], bool]]:
    """Yield what tells whether SIGINT or SIGTERM came, to any of the processes."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]

    def stopping() -> bool:
        if accelerator.num_processes == 1:
            return bool(came)
        return bool(accelerator.reduce(torch.tensor(len(came), device=accelerator.device), "sum"))

    try:
        yield stopping
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
