"""Which wheels are missing: uv's resolver is told what the machine has, so that nothing there is replaced without need.

Each distribution that is there becomes a wheel of metadata alone, to which a constraint holds the resolver: no request is
made for it, and what conflicts with it is not chosen. Of one that may change the version is an earlier answer, which uv
prefers.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fsd.runtime.packages import uv
from fsd.runtime.packages.installed import Found, kept_needs
from fsd.runtime.packages.requirements import normal

_VERSION = re.compile(r"^\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)*(\+[a-zA-Z0-9.]+)?$")


@dataclass(frozen=True)
class Wheel:
    """One file to install. where: its link, or its path on this machine. sha256, size_bytes: what it must be."""

    name: str
    version: str
    file: str
    where: str
    size_bytes: int
    sha256: str

    @property
    def link(self) -> str:
        """Where it is, as a link in any case."""
        return self.where if "://" in self.where else Path(self.where).as_uri()


def resolve(
    wanted: Iterable[str],
    found: Mapping[str, Found],
    free: Iterable[str] = (),
    *,
    pins: Iterable[str] = (),
    wheels: Path | None = None,
    backend: str = "",
) -> list[Wheel]:
    """The wheels that the requirements need beyond what was found, each with its SHA-256; UvFailed when none fit.

    free: distributions whose version may change, if it must. pins: NAME==VERSION to hold to. wheels: a folder to take them from
    instead of the registry. backend: which build of PyTorch, as uv names it.
    """
    source = ["--python", sys.executable, *(("--no-index", "--find-links", str(wheels)) if wheels else ())]
    source += ["--torch-backend", backend] if backend else []
    rows = [chosen(package, package["wheels"]) for package in resolved(wanted, found, free, pins, source, wheels)]
    there = {(one.name, one.version) for one in found.values()}
    return [row for row in rows if (row.name, row.version) not in there]


def resolved(
    wanted: Iterable[str],
    found: Mapping[str, Found],
    free: Iterable[str],
    pins: Iterable[str],
    options: Iterable[str],
    wheels: Path | None = None,
) -> list[dict[str, Any]]:
    """The packages beyond those that are held, as uv's pylock.toml has them: with every wheel that fits.

    options: more of uv's, such as where to take them from or the Python to resolve for. wheels: where uv itself may be.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, loose = Path(name), set(free)
        held = [one for one in found.values() if one.name not in loose and _VERSION.match(one.version)]
        lines = [f"{one.name} @ {_stub(folder, one, found).as_uri()}\n" for one in held]
        (folder / "constraints.txt").write_text("".join([*lines, *(f"{pin}\n" for pin in pins)]), encoding="utf-8")
        (folder / "wanted.in").write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8")
        made = folder / "pylock.toml"
        if free_here := [one for one in found.values() if one.name in loose]:
            made.write_text(_earlier_answer(free_here), encoding="utf-8")
        command = [
            "pip", "compile", "--quiet", "--no-config", "--only-binary", ":all:", "--format", "pylock.toml", *options,
            "-c", str(folder / "constraints.txt"), "-o", str(made), str(folder / "wanted.in"),
        ]  # fmt: skip
        uv.run("which packages are needed cannot be told", command, wheels)
        return [package for package in read_pylock(made) if package.get("wheels")]


def read_pylock(made: Path) -> list[dict[str, Any]]:
    """The packages of a pylock.toml, each of their files with a "url": its link, or its path on this machine."""
    packages = tomllib.loads(made.read_text(encoding="utf-8")).get("packages", [])
    for package in packages:
        for file in [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]:
            file["url"] = file.get("url") or str((made.parent / file["path"]).resolve())  # relative to the pylock.toml
    return packages


def file_name(file: Mapping[str, Any]) -> str:
    """What a wheel of a pylock.toml is called."""
    return unquote(urlsplit(file["url"]).path.rpartition("/")[2])


def chosen(package: Mapping[str, Any], files: Iterable[Mapping[str, Any]]) -> Wheel:
    """One of a package's files, all of which fit: a wheel for a kind of machine before one for any, that before a source."""
    rank = ("-any.whl", ".zip", ".gz")
    file = min(files, key=lambda file: next((at for at, end in enumerate(rank, 1) if file_name(file).endswith(end)), 0))
    size_bytes, sum_ = int(file.get("size") or 0), file["hashes"]["sha256"]
    return Wheel(normal(package["name"]), package["version"], file_name(file), file["url"], size_bytes, sum_)


def _earlier_answer(packages: Iterable[Found]) -> str:
    """Versions as uv's own answer would name them."""
    rows = (f"[[packages]]\nname = {json.dumps(one.name)}\nversion = {json.dumps(one.version)}\n" for one in packages)
    return "".join(['lock-version = "1.0"\ncreated-by = "fsd"\n', *rows])


def _stub(folder: Path, one: Found, found: Mapping[str, Found]) -> Path:
    """A wheel that holds nothing but the metadata of a distribution that is there."""
    stem = f"{one.name.replace('-', '_')}-{one.version}"
    needs = "".join(f"Requires-Dist: {need.line()}\n" for need in kept_needs(one, found))
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        head = f"Metadata-Version: 2.1\nName: {one.name}\nVersion: {one.version}\n"
        wheel.writestr(f"{stem}.dist-info/METADATA", head + needs)
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return folder / f"{stem}-py3-none-any.whl"
