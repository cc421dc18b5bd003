"""A web UI's wheelhouse: every file of its locks and a pack of each repository, from which the next one needs no network.

The packages are those of the locks by their SHA-256s, and git holds a pack to its commit, whatever the file says of itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsd.errors import DownloadError, MachineError
from fsd.runtime import report
from fsd.runtime.files import sha256
from fsd.runtime.packages import uv, wheel_house
from fsd.runtime.packages.locks import Lock, read_lock
from fsd.runtime.packages.requirements import normal
from fsd.runtime.packages.resolve import Wheel, chosen, read_pylock
from fsd.runtime.packages.wheel_files import fetch_wheels
from fsd.webui import checkout
from fsd.webui.flavors import Flavor, Repository

_SPARE_GB = 0.5


@dataclass
class Provisions:
    """What one installation takes from a wheelhouse, which is opened when something is first asked of it.

    house: the file, None without one. save: make it, if it is not there or does not serve. folder: for its files.
    """

    flavor: Flavor
    locks: tuple[Path, ...]
    house: Path | None
    save: bool
    folder: Path
    _held: dict[str, Wheel] | None = field(default=None, init=False)
    _fetched: list[Wheel] = field(default_factory=list, init=False)

    def pack_of(self, part: Repository) -> Path | None:
        """The file that holds a repository's commit, None where the wheelhouse has none."""
        row = self._open().get(_pack_name(part))
        return Path(row.where) if row else None

    def packages(self, python: Path) -> Path | None:
        """The folder with every file that the locks ask for; None where the network is to serve."""
        if self._open():
            report.say("  packages come from the wheelhouse")
            return self.folder
        if self.house and self.save:
            self._fetched = self._fetch(python)
            return self.folder
        return None

    def keep(self, app: Path, python: Path) -> None:
        """Make the wheelhouse, if that is asked for and the one that is there, if any, was found not to serve."""
        served = self._held is None or all(_pack_name(part) in self._held for part in self.flavor.repositories)
        if not self.house or not self.save or (self.house.exists() and served):
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            rows = [_packed(part, app / part.folder, Path(name)) for part in self.flavor.repositories]
            size = wheel_house.pack(self.house, self.flavor.name, [*rows, *(self._fetched or self._fetch(python))])
        report.say(f"wheelhouse: {self.house}, {report.human_bytes(size)}")

    def _open(self) -> dict[str, Wheel]:
        """The wheelhouse's files by name, each checked; empty where there is none or, which is said, it does not serve."""
        if self._held is None:
            self._held = {}
            if self.house and self.house.exists():
                self._held = self._checked(self.house)
        return self._held

    def _checked(self, house: Path) -> dict[str, Wheel]:
        report.say(f"  checking {house}, {report.human_bytes(house.stat().st_size)}")
        try:
            rows = wheel_house.unpack(house, self.folder)
            there = {row.sha256 for row in rows}
            lacking = [name for lock in self.locks for name, (_, sums) in read_lock(lock).items() if not sums & there]
            if not lacking:
                return {row.file: row for row in rows}
            why = f"the wheelhouse {house} does not hold today's {', '.join(lacking[:5])}"
        except wheel_house.Damaged as fault:
            why = fault.message
        report.say(f"  {why}; so it is installed from the network")
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        return {}

    def _fetch(self, python: Path) -> list[Wheel]:
        rows = {row.file: row for lock in self.locks for row in _listed(lock, python)}  # some may be in both
        return fetch_wheels([*rows.values()], self.folder)


@contextmanager
def provisions(
    flavor: Flavor, locks: tuple[Path, ...], house: Path | None, save: bool, home: Path
) -> Iterator[Provisions]:
    """A wheelhouse for as long as one installation takes; its files lie below `home` meanwhile."""
    folder = home / "provisions"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield Provisions(flavor, locks, house, save, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def need_space(home: Path, flavor: Flavor, root: Path | None, save: bool) -> None:
    """MachineError unless the disk has room for an installation, and for the files of a wheelhouse while one is used."""
    houses = [wheel_house.path_in(root, flavor.name, python) for python in flavor.pythons] if root else []
    files_gb = flavor.disk_gb / 2 if save or any(house.exists() for house in houses) else 0
    needed_gb = flavor.disk_gb + files_gb
    there_gb = sum(file.lstat().st_size for file in home.rglob("*") if not file.is_dir()) / 1e9  # a repair needs less
    free_gb = shutil.disk_usage(home).free / 1e9
    if free_gb < max(needed_gb - there_gb, _SPARE_GB):
        raise MachineError(
            f"{flavor.title} needs {needed_gb:g} GB in {home}, and {free_gb:.1f} GB are free",
            "free some disk space, or set FSD_WEBUI_HOME to a folder on a larger disk of this machine",
        )


def _pack_name(part: Repository) -> str:
    return f"{part.commit}.pack"


def _packed(part: Repository, checked_out: Path, folder: Path) -> Wheel:
    path = folder / _pack_name(part)
    checkout.pack(part, checked_out, path)
    return Wheel(part.title, part.commit, path.name, str(path), path.stat().st_size, sha256(path))


def _listed(lock: Path, python: Path) -> list[Wheel]:
    """One of the lock's files for each of its packages, with its link: a wheel that fits that Python, else the source."""
    pins = read_lock(lock)
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "pylock.toml"
        command = ["pip", "compile", "--quiet", "--no-config", "--no-deps", "--python", str(python)]
        uv.run(
            f"the files of {lock.name} are not found", [*command, "--format", "pylock.toml", "-o", str(made), str(lock)]
        )
        return [chosen(package, _locked(package, pins)) for package in read_pylock(made)]


def _locked(package: Mapping[str, Any], pins: Lock) -> list[Mapping[str, Any]]:
    """Those of a package's files that are the lock's; DownloadError when there is none any more."""
    name = normal(package["name"])
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    if known := [file for file in files if file["hashes"]["sha256"] in pins[name][1]]:
        return known
    raise DownloadError(f"none of the files of {name} {package['version']} is the one that was pinned", "update fsd")
