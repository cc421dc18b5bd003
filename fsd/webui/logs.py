"""What a web UI's log says: how far it is, why it died. Patterns come with the flavor, as data."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fsd.errors import MachineError
from fsd.runtime import report
from fsd.runtime.files import make_folder

_LINE_ENDS = re.compile(rb"(\r\n|\n|\r(?!$))")
"""A carriage return at the end of what was read may be half of a line's end."""
_KEPT_LINES = 2000


@dataclass(frozen=True)
class Phase:
    """A step of starting up. pattern: a regular expression searched in each line; text: what people are told then.

    text may use the pattern's named groups: Phase("Cloning (?P<what>.+) into", "fetching {what}").
    """

    pattern: str
    text: str


@dataclass(frozen=True)
class Fatal:
    """A known way to fail. pattern: searched in each line; message: what failed; hint: what to do next.

    message and hint may use the pattern's named groups, as in a Phase.
    """

    pattern: str
    message: str
    hint: str


_SECRETS = (
    re.compile(r"(?i)(--[a-z-]*(?:auth|token|password|secret|key)[a-z-]*(?:=|['\",\s]+))([^\s'\",]+)"),
    re.compile(r"(?i)((?:[?&]|\b)(?:token|password|secret|api_key|authtoken)[\"']?\s*[=:]\s*[\"']?)([^\s&'\",]+)"),
    re.compile(r"\b()(hf_[A-Za-z0-9]{20,}|(?:Basic|Bearer) [A-Za-z0-9+/=._-]{8,})"),
    re.compile(r"(https?://)([^\s/@]+:[^\s/@]+)(?=@)"),
)


def redacted(line: str) -> str:
    """The line without what looks like a credential: values of options and settings so named, tokens, URL logins."""
    for pattern in _SECRETS:
        line = pattern.sub(r"\1***", line)
    return line


def phase_of(line: str, phases: Iterable[Phase]) -> str:
    """What people are told when this line is seen: the first phase's text that fits, or ""."""
    for phase in phases:
        if match := re.search(phase.pattern, line):
            return _filled(phase.text, match)
    return ""


def fatal_of(lines: Iterable[str], fatal: Iterable[Fatal]) -> Fatal | None:
    """Why it failed: the first record, in the order of the records, that fits a line (its texts filled in)."""
    lines = list(lines)
    for known in fatal:
        for line in lines:
            if match := re.search(known.pattern, line):
                return Fatal(known.pattern, _filled(known.message, match), _filled(known.hint, match))
    return None


class Log:
    """A server's output: each line redacted, kept in a file (the one before it as NAME.1) and the last ones at hand.

    MachineError where there can be no such file; one that cannot be written later is said once, and missed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._file: BinaryIO | None = None
        self._complained = False
        try:
            make_folder(path.parent)
            if path.exists():
                path.replace(path.with_name(f"{path.name}.1"))
        except OSError as fault:
            hint = "check permissions and free space, or name another folder as root"
            raise MachineError(f"the log {path} cannot be written: {fault.strerror}", hint) from None

    def follow(self, descriptor: int) -> Iterator[str]:
        """The lines that come through a pipe until its other end is closed; a bar's redrawings come one by one too.

        In the file a bar is only as its last redrawing left it.
        """
        pending = b""
        try:
            while chunk := os.read(descriptor, 65536):
                *whole, pending = _LINE_ENDS.split(pending + chunk)
                for end, text in zip(whole[1::2], whole[::2], strict=True):
                    yield self._keep(text, redrawn=end == b"\r")
            if pending:
                yield self._keep(pending)
        finally:
            file, self._file = self._file, None
            with suppress(OSError):
                file and file.close()

    def tail(self, lines: int) -> list[str]:
        """The last lines, oldest first."""
        return list(self._lines)[-lines:]

    def _keep(self, text: bytes, redrawn: bool = False) -> str:
        line = redacted(text.decode(errors="replace"))
        if not redrawn and line.strip():
            self._lines.append(line)
            self._write(line)
        return line

    def _write(self, line: str) -> None:
        """Into the file; a full disk must not keep anybody from reading on, or the server would wait for ever."""
        try:
            self._file = self._file or self.path.open("ab", buffering=0)
            self._file.write(f"{line}\n".encode())
        except OSError as fault:
            if not self._complained:
                report.say(f"  the log {self.path} misses lines from here on: {fault.strerror}")
            self._complained = True


def _filled(text: str, match: re.Match[str]) -> str:
    groups = {name: value or "" for name, value in match.groupdict().items()}
    return text.format(**groups) if groups else text
