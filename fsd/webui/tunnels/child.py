"""A tunnel's program as a child process: its lines read as they come, without secrets; it ends with us."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fsd.errors import FsdError, MachineError
from fsd.webui import keeper
from fsd.webui.logs import redacted
from fsd.webui.tunnels.tunnel import Passing

_PASSED_ON = re.compile(
    r"PATH|LANG|LC_\w+|TMPDIR|SYSTEMROOT|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|(HTTPS?|ALL|NO)_PROXY", re.IGNORECASE
)
"""All of the environment that such a program gets to see: never a token of somebody else."""
_KEPT_LINES, _LOOK_S, _STOP_S = 200, 0.1, 10.0
_LONGEST_LINE = 400
_STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Cause:
    """A known way to fail. pattern: searched in each line; passes: another try in a while may do."""

    pattern: str
    message: str
    hint: str
    passes: bool = False

    def fault(self) -> MachineError:
        return (Passing if self.passes else MachineError)(self.message, self.hint)


class Workplace:
    """A folder of this user alone, deleted when it is closed: home and current folder of a tunnel's program."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fsd-tunnel-", ignore_cleanup_errors=True)
        self.path = Path(self._folder.name)

    def write(self, name: str, text: str) -> Path:
        """A file that only this user can read."""
        path = self.path / name
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        return path

    def environment(self, **more: str) -> dict[str, str]:
        """What a program sees: the way to programs and through a company's proxy, and this folder as its home."""
        kept = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
        return kept | {"HOME": str(self.path), "XDG_CONFIG_HOME": str(self.path)} | more

    def close(self) -> None:
        self._folder.cleanup()


class Child:
    """A running program. over: set when it ends by itself. hidden: secrets that its lines must not show.

    causes: what its lines mean. refuse: asked about each line; what it returns ends the program at once.
    """

    def __init__(
        self,
        title: str,
        command: list[str],
        over: threading.Event,
        workplace: Workplace,
        causes: tuple[Cause, ...] = (),
        hidden: tuple[str, ...] = (),
        refuse: Callable[[str], FsdError | None] = lambda line: None,
        **environment: str,
    ) -> None:
        self._title, self._causes, self._hidden, self._refuse = title, causes, hidden, refuse
        self._over, self._workplace = over, workplace
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._refused: FsdError | None = None
        self._ended = self._closing = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(keeper.__file__), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=workplace.environment(**environment),
                cwd=workplace.path,
                start_new_session=True,
            )
        except OSError as fault:
            workplace.close()
            raise Passing(f"{title} cannot be started: {fault.strerror}", "end other programs and try again") from None
        self._reader = threading.Thread(target=self._read, daemon=True, name=f"lines of {title}")
        self._reader.start()

    def first(self, pattern: str, patience_s: float) -> re.Match[str] | None:
        """What the first line that fits says; None if none comes in time. FsdError when the program ends before."""
        deadline = time.monotonic() + patience_s
        while True:
            over = self._over.wait(_LOOK_S) or self._ended
            if self._refused:
                raise self._refused
            for line in list(self._lines):
                if found := re.search(pattern, line):
                    return found
            if over:
                raise self.why()
            if time.monotonic() > deadline:
                return None

    def why(self, otherwise: str = "") -> FsdError:
        """Why it ended, or does not get anywhere."""
        if self._refused:
            return self._refused
        lines = list(self._lines)
        for cause in self._causes:
            if any(re.search(cause.pattern, line) for line in lines):
                return cause.fault()
        what = otherwise or f"it ended with exit code {self._process.poll()}"
        last = f"; its last line: {lines[-1]}" if lines else ", without a word"
        return Passing(f"{self._title}: {what}{last}", "try again in a minute, or choose another tunnel")

    def close(self) -> None:
        """End it and all that it started; its folder goes too."""
        self._closing = True
        keeper.end(self._process)
        self._reader.join(_STOP_S)
        self._workplace.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in iter(lambda: stream.readline(65536), b""):
                self._take(line.decode(errors="replace"))
        self._process.wait()
        self._ended = True
        if not self._closing:
            self._over.set()

    def _take(self, line: str) -> None:
        for secret in self._hidden:
            line = line.replace(secret, "***")
        line = _STYLE.sub("", redacted(line)).strip()
        if not line or self._refused:
            return
        self._refused = self._refuse(line)
        self._lines.append(line[:_LONGEST_LINE])
        if self._refused:
            self._process.terminate()
