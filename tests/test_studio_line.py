"""Who waits, who stops and who leaves, on an engine whose drawing process is held in the middle of a step."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from held_worker import HeldWorker

from fsd.webui import engine as engines
from fsd.webui.engine import Engine, Event, Job

DEADLINE_S = 20


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(engines, "WorkerProcess", HeldWorker)
    return Engine(tmp_path)


class Client(threading.Thread):
    """Somebody who asks for a picture. waits: set once a job is before theirs; got: all that came."""

    def __init__(self, engine: Engine, asker: str) -> None:
        super().__init__(daemon=True)
        self.engine, self.asker = engine, asker
        self.waits, self.got = threading.Event(), list[Event]()
        self.start()

    def run(self) -> None:
        for event in self.engine.run(Job("tiny"), self.asker):
            self.got.append(event)
            self.waits.set()

    def over(self) -> bool:
        self.join(DEADLINE_S)
        return not self.is_alive()


def begun(engine: Engine) -> tuple[HeldWorker, int]:
    """(the worker, the number) of the job that it has just been told to make."""
    worker = engine._worker
    assert isinstance(worker, HeldWorker)
    order = worker.orders.get(timeout=DEADLINE_S)
    assert order["do"] == "make"
    return worker, order["id"]


def test_who_closes_a_page_does_not_wait_for_the_step_but_the_next_job_does(engine: Engine) -> None:
    job = engine.run(Job("tiny"), "first")
    held = HeldWorker(Path())
    engine._worker = held  # type: ignore[assignment]
    held.step(1)
    next(job)
    worker, number = begun(engine)
    closing = threading.Thread(target=job.close, daemon=True)
    closing.start()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()
    assert worker.orders.get(timeout=DEADLINE_S) == {"do": "cancel", "id": number}
    other = Client(engine, "second")
    assert other.waits.wait(DEADLINE_S) and engine.state().job and worker.orders.empty()
    worker.end(number)
    _, number = begun(engine)
    worker.end(number)
    assert other.over() and engine.state().job is None


def test_stop_ends_ones_own_job_alone(engine: Engine) -> None:
    held = engine._worker = HeldWorker(Path())  # type: ignore[assignment]
    first = Client(engine, "first")
    worker, number = begun(engine)
    second = Client(engine, "second")
    third = Client(engine, "third")
    assert second.waits.wait(DEADLINE_S) and third.waits.wait(DEADLINE_S)
    engine.cancel("second")
    assert second.over() and first.is_alive() and held.orders.empty()
    engine.cancel("nobody")
    assert held.orders.empty() and engine.state().waiting == 1
    engine.cancel("first")
    assert worker.orders.get(timeout=DEADLINE_S) == {"do": "cancel", "id": number}
    worker.end(number)
    assert first.over()
    _, number = begun(engine)
    engine.cancel()  # the API's: what is being done, whosever it is
    assert worker.orders.get(timeout=DEADLINE_S) == {"do": "cancel", "id": number}
    worker.end(number)
    assert third.over()


def test_a_job_that_waits_goes_home_when_the_studio_stops(engine: Engine) -> None:
    engine._worker = HeldWorker(Path())  # type: ignore[assignment]
    job = engine.run(Job("tiny"), "first")
    engine._worker.step(1)
    next(job)
    engine.stop()
    with pytest.raises(engines.Interrupted, match="was stopped"):
        next(job)
    assert engine.state().job is None and engine.state().waiting == 0
