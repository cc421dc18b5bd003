"""The whole verb that trains a stage, in cold processes, killed with the process that trains or alone."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess

from kills import Training

from fsd.data.session import Session
from fsd.runtime.process import python_module


class Verb(Training):
    """The whole of `fsd train-unet` in cold processes; killed, it dies with the process that trains, as on a lost machine."""

    def _start(self, session: Session, stage: str) -> None:
        become_parent_of_orphans = 36
        ctypes.CDLL(None).prctl(become_parent_of_orphans, 1)
        verb = python_module("fsd", f"train-{stage.replace('_', '-')}", session.name)
        command = [*verb, "--root", str(session.folder.parents[2])]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def kill(self) -> bool:
        """Kill both; whether it was that of which both died."""
        self._process.kill()
        os.kill(self._pid, signal.SIGKILL)
        return self._exit_code() == self._end_of_orphan() == -signal.SIGKILL

    def _is_alive(self) -> bool:
        return self._process.poll() is None

    def _exit_code(self) -> int | None:
        return self._process.wait()

    def _end_of_orphan(self) -> int:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        except ChildProcessError:  # it ended before its parent was killed
            return 0


class VerbAlone(Verb):
    """Likewise, but only the verb is killed: the process that trains is then told by the kernel to stop, and saves."""

    def kill(self) -> bool:
        """Kill the verb and wait for the other's end; whether the verb died of the kill, and while the other lived."""
        self._process.kill()
        return self._exit_code() == -signal.SIGKILL and self._end_of_orphan() != 0
