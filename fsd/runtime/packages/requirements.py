"""What each job needs, read from the one place that says it: setup.py's extras, in a checkout or in installed metadata."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

_PACKAGE = Path(__file__).parents[2]
_LINE = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*\(?\s*([^;()]*?)\s*\)?\s*(?:;\s*(.*))?$")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w.-]+)['"]""")


class Requirement(NamedTuple):
    """One line. name: normalised. range: such as ">=2.6,<3", "" for any. marker: what follows the semicolon."""

    name: str
    range: str
    marker: str

    def line(self) -> str:
        """The requirement as a resolver reads it."""
        return self.name + self.range


def normal(name: str) -> str:
    """A distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parsed(line: str) -> Requirement | None:
    """A requirement's line in its parts, None if it is none of NAME RANGE ; MARKER (such as a link)."""
    found = _LINE.match(line)
    return Requirement(normal(found[1]), found[2].replace(" ", ""), found[3] or "") if found else None


@cache
def extras() -> dict[str, tuple[str, ...]]:
    """Extra -> its requirements with the base ones in front; empty when fsd is neither installed nor a checkout."""
    base, more = _of_metadata() or _of_checkout() or ([], {})
    return {name: tuple(dict.fromkeys([*base, *lines])) for name, lines in more.items()}


def in_range(version: str, range_: str) -> bool:
    """Whether a version is in a range such as ">=2.6,<3"; local parts such as "+cu128" do not count."""
    if specifiers := _packaging("specifiers"):
        try:
            return bool(specifiers.SpecifierSet(range_).contains(version, prereleases=True))
        except Exception:  # a version that no standard knows
            return False
    return all(_compared(version, part) for part in range_.split(",") if part)


def applies(marker: str) -> bool:
    """Whether a marker holds on this machine, without any extra; where `packaging` is not there, only "" does."""
    if not marker:
        return True
    markers = _packaging("markers")
    try:
        return bool(markers and markers.Marker(marker).evaluate({"extra": ""}))
    except Exception:  # a marker that no standard knows
        return False


def _of_metadata() -> tuple[list[str], dict[str, list[str]]] | None:
    """The requirements of the installed distribution that this very package belongs to."""
    try:
        distribution = metadata.distribution("fsd")
    except metadata.PackageNotFoundError:
        return None
    if Path(str(distribution.locate_file("fsd"))).resolve() != _PACKAGE:
        return None
    base: list[str] = []
    more: dict[str, list[str]] = {}
    for line in distribution.requires or ():
        wanted, _, marker = line.partition(";")
        named = _EXTRA.search(marker)
        (more.setdefault(named[1], []) if named else base).append(wanted.strip())
    return (base, more) if more else None


def _of_checkout() -> tuple[list[str], dict[str, list[str]]] | None:
    """The requirements of the setup.py beside the package, run with a stand-in for setuptools."""
    script = _PACKAGE.parent / "setup.py"
    if not script.is_file() or 'name="fsd"' not in script.read_text(encoding="utf-8"):
        return None
    given: dict[str, Any] = {}
    stand_in = ModuleType("setuptools")
    vars(stand_in).update(setup=lambda **words: given.update(words), find_packages=lambda **_: [])
    with patch.dict(sys.modules, setuptools=stand_in):
        runpy.run_path(str(script))
    return given["install_requires"], given["extras_require"]


@cache
def _packaging(part: str) -> Any:
    """A module of `packaging`, else of the one inside pip, else None."""
    for home in ("packaging", "pip._vendor.packaging"):
        try:
            return __import__(f"{home}.{part}", fromlist=[part])
        except ImportError:
            continue
    return None


def _compared(version: str, part: str) -> bool:
    """One comparison by the numbers before any letter: less than the standard asks for, and enough for our own ranges."""
    found = re.match(r"(>=|<=|==|!=|~=|>|<)([\d.]+)", part)
    if not found:
        return False
    have, want = _numbers(version), _numbers(found[2])
    compare: dict[str, Callable[[], bool]] = {
        ">=": lambda: have >= want, "<=": lambda: have <= want, "==": lambda: have == want, "!=": lambda: have != want,
        ">": lambda: have > want, "<": lambda: have < want,
        "~=": lambda: have >= want and have[: found[2].count(".")] == want[: found[2].count(".")],
    }  # fmt: skip
    return compare[found[1]]()


def _numbers(version: str) -> tuple[int, ...]:
    digits = re.match(r"[\d.]*", version)
    numbers = [int(part) for part in (digits[0] if digits else "").split(".") if part]
    return tuple((numbers + [0] * 6)[:6])
