"""What this machine has installed, read from the packages' own metadata: nothing is imported, no network."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from fsd.runtime.packages import overlay
from fsd.runtime.packages.requirements import Requirement, applies, in_range, normal, parsed

_SAME_MODULE = {
    "opencv-python-headless": ("opencv-contrib-python-headless", "opencv-python", "opencv-contrib-python"),
}
"""Distributions that hold the same module: any of them will do, and two of them would overwrite each other."""
_WHOLE = ("torch",)
"""Packages that may work without what their metadata ask for, as builds for a machine bring their own CUDA."""


@dataclass(frozen=True)
class Found:
    """A distribution that is there. overlay: whether it is ours, not the machine's."""

    name: str
    version: str
    overlay: bool
    needs: tuple[Requirement, ...] = field(repr=False, compare=False)


def installed(with_overlay: bool = True) -> dict[str, Found]:
    """Every distribution by name, as a child sees them: of two the overlay's. with_overlay=False: the machine's alone."""
    ours = str(overlay.packages())
    machine = [path for path in sys.path if path != ours]
    found = _on(machine, False)
    return found | _on(overlay.child_paths(), True) if with_overlay else found


def provider(name: str, found: Mapping[str, Found]) -> Found | None:
    """The distribution that is there under a name, or that holds the same module under another."""
    return next((found[other] for other in (name, *_SAME_MODULE.get(name, ())) if other in found), None)


def lacking(roots: Iterable[str], found: Mapping[str, Found]) -> dict[str, Requirement]:
    """What the roots, and what these need in turn, ask for and nobody provides; versions are not judged."""
    wanted, seen = list(roots), set[str]()
    absent: dict[str, Requirement] = {}
    while wanted:
        there = provider(wanted.pop(), found)
        if there is None or there.name in seen or there.name in _WHOLE:
            continue
        seen.add(there.name)
        for need in there.needs:
            if not applies(need.marker):
                continue
            if provider(need.name, found):
                wanted.append(need.name)
            else:
                absent[need.name] = need
    return absent


def kept_needs(of: Found, found: Mapping[str, Found]) -> list[Requirement]:
    """What a distribution needs and the machine fulfils: this must stay so when another version is chosen."""
    if of.name in _WHOLE:
        return []
    return [
        need
        for need in of.needs
        if applies(need.marker) and need.name in found and in_range(found[need.name].version, need.range)
    ]


def lost_file() -> str:
    """The first file of the overlay's packages that is missing or has another size than was installed, "" if none."""
    for record in (path for home in overlay.child_paths() for path in sorted(Path(home).glob("*.dist-info"))):
        try:
            rows = list(csv.reader((record / "RECORD").read_text(encoding="utf-8").splitlines()))
        except (OSError, UnicodeDecodeError):
            return f"{record.name}/RECORD"
        for name, _, size in (row for row in rows if len(row) == 3):  # metadata.files leaves out what is missing
            path = record.parent / name
            if not path.is_file() or size not in ("", str(path.stat().st_size)):
                return name
    return ""


def _on(paths: list[str], ours: bool) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for distribution in metadata.distributions(path=paths):
        try:
            read = distribution.metadata  # parsed anew each time it is asked for
            name, version = normal(read["Name"]), read["Version"]
            needs = [parsed(line) for line in read.get_all("Requires-Dist") or distribution.requires or ()]
        except (KeyError, TypeError, AttributeError, OSError, UnicodeDecodeError):  # a folder that was left half
            continue
        if version and name != "fsd":
            found.setdefault(name, Found(name, version, ours, tuple(need for need in needs if need)))
    return found
