"""What one call of `add_photos` did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class AddReport:
    """What `add_photos` did, by file name. near_duplicates: pairs that look the same. captions: photos that got one.

    concepts: how many of the added photos are in the folder of each concept.
    """

    added: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    near_duplicates: list[tuple[str, str]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    concepts: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    def text(self) -> str:
        """The report as lines for a person."""
        lines = [f"{len(self.added)} photos added, {len(self.captions)} captions"]
        lines += [f"{count} of them in {name}" for name, count in self.concepts.items()]
        lines += [f"held out for the score: {', '.join(self.held_out)}"] if self.held_out else []
        known = [name for name, reason in self.skipped if reason == same_as(name)]
        lines[0] += f"; {len(known)} photos were there already" if known else ""
        lines += [f"skipped {name}: {reason}" for name, reason in self.skipped if name not in known]
        return "\n".join([*lines, *(f"note: {warning}" for warning in self.warnings)])


def same_as(name: str) -> str:
    """Why a photo is skipped whose bytes are in the session under a name."""
    return f"the same bytes are there already, as {name}"
