"""What `fsd setup` gives back: one row for each package, what it took, and the whole as a short table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fsd.runtime import report


@dataclass(frozen=True)
class Row:
    """One package. origin: "machine", "overlay" or "new". works: "yes", or why it does not. optional: it may fail."""

    name: str
    version: str
    origin: str
    works: str
    optional: bool = False


@dataclass(frozen=True)
class SetupResult:
    """A setup that is done. source: where what is new came from. others: new packages that those of the rows need."""

    profile: str
    rows: tuple[Row, ...]
    others: tuple[str, ...]
    source: str
    cuda: str
    installed_s: float
    checked_s: float

    @property
    def failed(self) -> list[Row]:
        """The rows of packages that are needed and do not work."""
        return [row for row in self.rows if row.works != "yes" and not row.optional]

    def as_text(self) -> str:
        """The table for people, then what was reused, what is new and how long it took."""
        table = report.table(
            [[row.name, row.version, row.origin, row.works] for row in self.rows],
            ["package", "version", "from", "works"],
        )
        new = sum(row.origin == "new" for row in self.rows) + len(self.others)
        there = sum(row.origin != "new" for row in self.rows)
        did = f"{new} new packages from {self.source}" if new else "nothing to install"
        time = f"ready in {self.installed_s:.1f} s, checked in {self.checked_s:.1f} s"
        return f"{table}\ntorch: {self.cuda or 'not tried'}\n{self.profile}: {there} reused, {did}; {time}"

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows], "others": list(self.others)}
