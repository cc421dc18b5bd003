"""One command of an installation: in a clean environment, with a time limit; when it fails, its step and its last lines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import report, secrets
from fsd.webui.logs import redacted

_TAIL_LINES = 15
_FOREIGN = re.compile(
    r"^(PYTHON(PATH|HOME|STARTUP|USERBASE)|UV_.+|GIT_.+|FSD_.+|COMMANDLINE_ARGS|VIRTUAL_ENV|CONDA_.+|MPLBACKEND"
    r"|PIP_(CONSTRAINT|REQUIRE_VIRTUALENV|TARGET|USER|PREFIX)|(TORCH|REQS|XFORMERS|CLIP|OPENCLIP)_(COMMAND|FILE|PACKAGE)"
    r"|\w+_(REPO|COMMIT_HASH|WHEEL)|INDEX_URL|WEBUI_.+|SD_WEBUI_.+|LD_PRELOAD)$"
)
"""Variables that a notebook's runtime or an older installation sets for itself, and that would change what runs here."""


class StepFailed(MachineError):
    """A command of the installation failed. lines: its last ones."""

    def __init__(self, step: str, why: str, lines: list[str], hint: str) -> None:
        last = "".join(f"\n    {line}" for line in lines)
        super().__init__(f"{step}: {why}" + (f"; its last lines:{last}" if lines else ""), hint)
        self.step, self.why, self.lines = step, why, lines


def clean_environment(**more: str) -> dict[str, str]:
    """This process's variables without secrets and without what is meant for another Python or git, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not (_FOREIGN.match(name) or secrets.named_so(name))}
    fixed = {"GIT_TERMINAL_PROMPT": "0", "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1", "PYTHONIOENCODING": "utf-8"}
    return kept | fixed | more


def run_step(
    step: str, command: list[str], environment: Mapping[str, str], limit_s: float, shown: str = "", folder: Path | None = None
) -> str:  # fmt: skip
    """Run a command to its end and return what it printed; StepFailed if it fails or takes longer than `limit_s`.

    shown: a regular expression; lines that fit are passed on to people as they come.
    """
    try:
        child = subprocess.Popen(
            command, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as fault:
        raise StepFailed(step, f"{command[0]} cannot be run: {fault.strerror}", [], f"install {command[0]}") from fault
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(child)

    limit = threading.Timer(limit_s, stop)
    limit.start()
    printed: list[str] = []
    try:
        assert child.stdout is not None
        for line in child.stdout:
            printed.append(line)
            if shown and re.search(shown, line):
                report.say(f"  {redacted(line.strip())}")
        status = child.wait()
    finally:
        limit.cancel()
        _end(child)
    if status == 0:
        return "".join(printed)
    tail = [redacted(line.rstrip()) for line in deque((line for line in printed if line.strip()), maxlen=_TAIL_LINES)]
    why = f"stopped after {limit_s:.0f} s" if late.is_set() else f"failed (exit code {status})"
    raise StepFailed(step, why, tail, _hint("".join(printed), late.is_set()))


def _end(child: subprocess.Popen[str]) -> None:
    """Kill a command that still runs, with everything that it started."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


_HINTS = (
    (r"(?i)could not (resolve|connect)|name or service|dns error|network is unreachable|temporary failure|"
     r"connection refused|failed to connect|timed out",
     "check the network, then run the installation again: it goes on where it stopped"),
    (r"(?i)no space left", "free some disk space (8 GB are needed), then run the installation again"),
    (r"(?i)hash mismatch|hashes? .*do(es)? not match", "a package is not the one that was pinned: run the installation "
     "again, and if it stays so, report it"),
    (r"(?i)could not read username|authentication failed|repository .*not found|not our ref",
     "this address has not what is pinned: update fsd, which knows other addresses"),
    (r"(?i)no interpreter found|no download found|python .*not found",
     "install Python 3.10 or 3.11, for example with: uv python install 3.10"),
)  # fmt: skip


def _hint(text: str, late: bool) -> str:
    if late:
        return "the network is very slow: run the installation again, it goes on where it stopped"
    return next((hint for pattern, hint in _HINTS if re.search(pattern, text)), "run the installation again")
