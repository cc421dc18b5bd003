"""What a web UI's log says: how far it is, why it died. Patterns come with the flavor, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


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
    re.compile(r"(?i)\b((?:[?&]|\b)(?:token|password|secret|api_key|authtoken)[\"']?\s*[=:]\s*[\"']?)([^\s&'\",]+)"),
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
            return phase.text.format(**match.groupdict())
    return ""


def fatal_of(lines: Iterable[str], fatal: Iterable[Fatal]) -> Fatal | None:
    """Why it failed: the first record, in the order of the records, that fits a line (its texts filled in)."""
    lines = list(lines)
    for known in fatal:
        for line in lines:
            if match := re.search(known.pattern, line):
                groups = match.groupdict()
                return Fatal(known.pattern, known.message.format(**groups), known.hint.format(**groups))
    return None
