"""What an examination of the machine finds: facts to show, and problems with what they stop and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

_WIDTH = 110
TRAINING, WEB_UI = "training", "webui"
BOTH = (TRAINING, WEB_UI)


@dataclass(frozen=True)
class Problem:
    """Something to mend. stops: what does not work until then, of TRAINING and WEB_UI; empty for what is only a pity."""

    what: str
    next_step: str
    stops: Sequence[str] = ()


@dataclass
class Findings:
    """A section of the page. facts: (label, text) in order. figures: the same and more as plain JSON values.

    limits: what a job that would work would not do, by the job.
    """

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)

    def say(self, label: str, text: str) -> None:
        """Add a fact."""
        self.facts.append((label, text))

    def problem(self, what: str, next_step: str, *stops: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(what, next_step, stops))

    def limit(self, job: str, how: str) -> None:
        """Add that a job works in part alone; what was said of it first stands."""
        self.limits.setdefault(job, how)

    def as_lines(self, width: int = 10) -> list[str]:
        """The section for people: labels in a column, further lines of a text under its first."""
        lines = [self.title]
        width *= any(label for label, _ in self.facts)
        for label, text in self.facts:
            folded = [part for line in text.splitlines() or [""] for part in wrapped(line, "", 2 + width)]
            lines += [f"  {mark:{width}}{part}".rstrip() for mark, part in zip_longest([label], folded, fillvalue="")]
        return lines


def wrapped(text: str, indent: str, margin: int = 0) -> list[str]:
    """A text in lines that an issue's page shows whole; the further ones begin with the indent. margin: what is left free."""
    kept = len(text) - len(text.lstrip())
    lines = textwrap.wrap(text, _WIDTH - margin, subsequent_indent=indent + " " * kept, break_on_hyphens=False)
    return lines or [""]
