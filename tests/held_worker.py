"""A drawing process that is none: it writes down what it is told, and says what the test has it say."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

from fsd.errors import MachineError


class HeldWorker:
    """In place of `WorkerProcess`. orders: what it was told."""

    running = True

    def __init__(self, root: Path) -> None:
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.orders: queue.Queue[dict[str, Any]] = queue.Queue()

    def send(self, order: dict[str, Any]) -> None:
        self.orders.put(order)
        print("held", flush=True)  # for who has it in a process of its own

    def step(self, number: int) -> None:
        self.events.put({"id": number, "event": "progress", "done": 1, "total": 9, "preview": ""})

    def end(self, number: int) -> None:
        self.events.put({"id": number, "event": "end", "cancelled": True, "model": "m"})

    def stop(self) -> None:
        self.events.put(None)

    def death(self) -> MachineError:
        return MachineError("it died", "try again")
