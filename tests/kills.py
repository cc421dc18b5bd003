"""Processes that train a stage and are killed (SIGKILL) at a moment of their CPU time.

Moments are the CPU time that the training process has used since it took the session's lock, so that a busy machine does
not shift them. Nothing of a session is touched before that lock is taken.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import count
from pathlib import Path
from typing import Any

from fsd.data.session import Session
from fsd.runtime.lock_record import holder
from fsd.runtime.spool import deliver
from fsd.runtime.spool.local_first import FSD_LOCAL

_IMPORTED = ["fsd.train.prepare", "bitsandbytes", "matplotlib.backends.backend_agg", "matplotlib.figure"]
_LOOK_S = 0.001
_SLOW_COPY_S = 0.1
"""How much longer each file takes to Drive than to a disk, so that Drive lags behind the training as the real one does."""
_DEADLINE_S = 600.0

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(_IMPORTED)


def run_stage_module(stage: str, folder: str, local: str, output: str) -> None:
    """What a `Training` process does: `python -m fsd.train.STAGE FOLDER`, with a slow Drive. local: FSD_LOCAL, or ""."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.pop(FSD_LOCAL, None)
    os.environ.update({FSD_LOCAL: local} if local else {})
    sys.argv, deliver._copy = [stage, folder], _copy_slowly
    runpy.run_module(f"fsd.train.{stage}", run_name="__main__", alter_sys=True)


def run_to_call(where: str, call_number: int, stage: str, folder: str, output: str) -> None:
    """The same on a plain folder, until the N-th call of a function kills it. where: package.module:Class.method."""
    module_name, _, path = where.partition(":")
    *parents, name = path.split(".")
    owner: Any = reduce(getattr, parents, importlib.import_module(module_name))
    real, calls = getattr(owner, name), count(1)

    def counted(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call_number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(owner, name, counted)
    run_stage_module(stage, folder, "", output)


def _copy_slowly(*given: Any, copy: Callable[..., Any] = deliver._copy) -> Any:
    time.sleep(_SLOW_COPY_S)
    return copy(*given)


class Training:
    """A stage's training process, from when it has taken the session's lock (or has ended already).

    It is forked by multiprocessing's forkserver, which has imported torch and done nothing with it, and runs the stage's
    module as main. So it is spared the imports alone, which touch no session and from which no moment is drawn.
    """

    def __init__(self, session: Session, stage: str, output: Path) -> None:
        self._output, self._ends = output, time.monotonic() + _DEADLINE_S
        self._start(session, stage)
        self._pid = 0
        while self._runs() and not self._pid:
            time.sleep(_LOOK_S)
            self._pid = (holder(session.folder) or {}).get("pid", 0)  # none in a lock that is just being written
        self._used_s, self._began_s = 0.0, self._clock()

    def _start(self, session: Session, stage: str) -> None:
        arguments = (stage, str(session.folder), os.environ.get(FSD_LOCAL, ""), str(self._output))
        self._process = SERVER.Process(target=run_stage_module, args=arguments)
        self._process.start()

    @property
    def told(self) -> str:
        """All that it printed."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    @property
    def has_trained(self) -> bool:
        """Whether it came to its first step."""
        return "steps/s" in self.told

    def used_s(self) -> float:
        """The CPU seconds of the training process since it began; once it is gone, those at the last look."""
        self._used_s = max(self._used_s, self._clock() - self._began_s)
        return self._used_s

    def reaches(self, moment_s: float) -> bool:
        """Wait until it has used so much CPU time; False when it ended before."""
        while self._runs():
            if self._pid and self.used_s() >= moment_s:
                return True
            time.sleep(_LOOK_S)
        return False

    def kill(self) -> bool:
        """Kill it; whether it was that of which it died."""
        self._process.kill()
        return self._exit_code() == -signal.SIGKILL

    def ends_well(self) -> None:
        """Wait for its end; SystemExit with what it printed when it failed."""
        while self._runs():
            time.sleep(_LOOK_S)
        if code := self._exit_code():
            sys.exit(f"exit code {code}:\n{self.told}")

    def _runs(self) -> bool:
        if time.monotonic() > self._ends:
            self._process.kill()
            sys.exit(f"still running after {_DEADLINE_S:.0f} s:\n{self.told}")
        return self._is_alive()

    def _is_alive(self) -> bool:
        return self._process.is_alive()

    def _exit_code(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def _clock(self) -> float:
        if not self._pid:
            return 0.0
        try:
            return time.clock_gettime((~self._pid << 3) | 2)  # a process's clock, as clock_getcpuclockid(3) makes it
        except OSError:
            return 0.0


@dataclass(frozen=True)
class Pace:
    """CPU seconds of a stage that nobody interrupted: in all, and a step."""

    whole_s: float
    step_s: float

    def left_s(self, step: int) -> float:
        """How long a process takes that goes on from a step."""
        return max(self.whole_s - step * self.step_s, self.step_s)


def uninterrupted(session: Session, stage: str, steps: int, output: Path) -> Pace:
    """Train a stage to its end and measure it."""
    training, prepared_s = Training(session, stage, output), 0.0
    while training.reaches(training.used_s() + _LOOK_S):
        prepared_s = prepared_s or training.has_trained * training.used_s()
    training.ends_well()
    return Pace(training.used_s(), (training.used_s() - prepared_s) / steps)
