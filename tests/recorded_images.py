"""Colab's images as far as they are recorded in `colab/freezes`, and whether fsd's packages fit on top of them.

A freeze's head names its Python and date, and what is known to be absent; its lines are packages. What is neither is not
recorded: it may be there or not. `colab/resolve.py` writes `colab/resolved.json`, which is all that is read here.
"""

from __future__ import annotations

import hashlib
import json
import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent / "colab"
RESOLVED = HERE / "resolved.json"
OURS = ("fsd", "fsd-tiny-base")
"""Not on the registry."""


@dataclass(frozen=True)
class Recorded:
    """An image of Colab. python: its full version. packages: version by name. absent: names known not to be there."""

    name: str
    python: str
    packages: dict[str, str]
    absent: frozenset[str]

    def markers(self, extra: str) -> dict[str, str]:
        """What environment markers are evaluated with."""
        return {
            "python_version": ".".join(self.python.split(".")[:2]), "python_full_version": self.python,
            "implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix",
            "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "extra": extra,
        }  # fmt: skip


def images() -> list[Recorded]:
    """Every recorded image, the newest Python first."""
    found = [_read(path) for path in sorted((HERE / "freezes").glob("*.txt"))]
    return sorted(found, key=lambda image: (image.python.split("."), image.name), reverse=True)


def _read(path: Path) -> Recorded:
    text = path.read_text(encoding="utf-8")
    head = dict(re.findall(r"(?m)^# (Python|date|absent) (.+)$", text))
    assert head["date"] == path.stem
    packages = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)$", text))
    assert len(packages) == sum(not line.startswith("#") for line in text.splitlines())
    names = {str(canonicalize_name(name)): version for name, version in packages.items()}
    return Recorded(path.stem, head["Python"], names, frozenset(head.get("absent", "").split()))


def profiles() -> dict[str, tuple[str, ...]]:
    """What each profile of `fsd setup` asks for, without what is ours."""
    from fsd.runtime import wheels

    return {
        name: tuple(text for text in profile.requirements if Requirement(text).name not in OURS)
        for name, profile in wheels.PROFILES.items()
    }


def asked_for() -> dict[str, Any]:
    """What a record is made from: each profile's requirements, and each image's packages by a checksum."""
    freezes = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in (HERE / "freezes").glob("*.txt")}
    return {
        "profiles": {name: sorted(lines) for name, lines in profiles().items()},
        "images": dict(sorted(freezes.items())),
    }


def extras() -> dict[str, tuple[str, ...]]:
    """What setup.py's extras for users ask for, its base requirements included, without what is ours."""
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(HERE.parents[1] / "setup.py"))
    given = setup.call_args.kwargs
    return {
        name: tuple(text for text in [*given["install_requires"], *rows] if Requirement(text).name not in OURS)
        for name, rows in given["extras_require"].items()
        if name != "test"
    }


def resolution() -> dict[str, Any]:
    """What `colab/resolve.py` recorded: "asked_for", "images" (image -> profile -> name -> version), "metadata" (by pin)."""
    return json.loads(RESOLVED.read_text(encoding="utf-8"))


@dataclass
class Checked:
    """What a check found. conflicts: a sentence each. unknown: requirements on packages that nothing is recorded of."""

    conflicts: list[str]
    unknown: list[str]
    requirements: int = 0


def check(image: Recorded, wanted: tuple[str, ...], chosen: dict[str, str], metadata: dict[str, Any]) -> Checked:
    """Follow every requirement from `wanted` on, through all packages whose metadata is recorded, markers and extras too.

    chosen: what would be installed, by name; it hides what the image has.
    """
    versions, found = {**image.packages, **chosen}, Checked([], [])
    queue = [(f"fsd ({text})", Requirement(text), "") for text in wanted]
    seen: set[tuple[str, str]] = set()
    while queue:
        who, requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate(image.markers(extra)):
            continue
        name = str(canonicalize_name(requirement.name))
        found.requirements += 1
        if name not in versions:
            found.unknown.append(f"{who} needs {requirement}")
            continue
        if not requirement.specifier.contains(versions[name], prereleases=True):
            found.conflicts.append(f"{who} needs {name}{requirement.specifier}, and {versions[name]} would be there")
        for inner in {"", *requirement.extras}:
            if (name, inner) not in seen:
                seen.add((name, inner))
                known = metadata.get(f"{name}=={versions[name]}")
                queue += [(name, Requirement(text), inner) for text in known["requires"]] if known else []
                if known and not SpecifierSet(known["python"]).contains(image.python):
                    found.conflicts.append(
                        f"{name} {versions[name]} is for Python {known['python']}, not {image.python}"
                    )
    return found
