"""What an examination of the machine finds: facts to show, and problems with what they stop and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """A section of the page. facts: (label, text) in order. figures: the same and more as plain JSON values."""

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def say(self, label: str, text: str) -> None:
        """Add a fact."""
        self.facts.append((label, text))

    def problem(self, what: str, next_step: str, *stops: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(what, next_step, stops))

    def as_lines(self, width: int = 10) -> list[str]:
        """The section for people: labels in a column, further lines of a text under its first."""
        lines = [self.title]
        width *= any(label for label, _ in self.facts)
        for label, text in self.facts:
            first, *more = text.splitlines() or [""]
            lines += [f"  {label:{width}}{first}".rstrip(), *(f"  {'':{width}}{line}" for line in more)]
        return lines
