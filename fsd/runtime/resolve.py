"""Which wheels are missing: uv's resolver is told what the machine has, so that nothing there is replaced without need.

Each distribution that is there becomes a wheel of metadata alone, to which a constraint holds the resolver: no request is
made for it, and what conflicts with it is not chosen.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fsd.runtime import uv
from fsd.runtime.installed import Found, kept_needs
from fsd.runtime.requirements import normal

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


def resolve(
    wanted: Iterable[str],
    found: Mapping[str, Found],
    free: Iterable[str] = (),
    *,
    pins: Iterable[str] = (),
    wheels: Path | None = None,
    options: Iterable[str] = (),
) -> list[Wheel]:
    """The wheels that the requirements need beyond what was found, each with its SHA-256; UvFailed when none fit.

    free: distributions whose version may change. pins: NAME==VERSION to hold to. wheels: a folder to take them from
    instead of the registry. options: more of uv's, such as the Python to resolve for.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        held = [one for one in found.values() if one.name not in set(free) and _VERSION.match(one.version)]
        lines = [f"{one.name} @ {_stub(folder, one, found).as_uri()}\n" for one in held]
        (folder / "constraints.txt").write_text("".join([*lines, *(f"{pin}\n" for pin in pins)]), encoding="utf-8")
        (folder / "wanted.in").write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8")
        made = folder / "pylock.toml"
        source = ["--no-index", "--find-links", str(wheels)] if wheels else []
        command = [
            "pip", "compile", "--quiet", "--no-config", "--only-binary", ":all:", "--format", "pylock.toml",
            *source, *options, "-c", str(folder / "constraints.txt"), "-o", str(made), str(folder / "wanted.in"),
        ]  # fmt: skip
        uv.run("no set of packages fits this machine", command, wheels)
        packages = tomllib.loads(made.read_text(encoding="utf-8")).get("packages", [])
    rows = [_wheel(package, folder) for package in packages if package.get("wheels")]
    there = {(one.name, one.version) for one in found.values()}
    return [row for row in rows if (row.name, row.version) not in there]


def _wheel(package: dict[str, Any], base: Path) -> Wheel:
    file = package["wheels"][0]  # uv leaves the one that fits this machine
    where = file.get("url") or str((base / file["path"]).resolve())
    name = unquote(urlsplit(where).path.rpartition("/")[2])
    size_bytes = int(file.get("size") or 0)
    return Wheel(normal(package["name"]), package["version"], name, where, size_bytes, file["hashes"]["sha256"])


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
