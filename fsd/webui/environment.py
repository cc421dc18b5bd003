"""A web UI's own Python environment: made by uv, filled from a hashed lock, checked file by file, repaired."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import report
from fsd.runtime.files import write_bytes
from fsd.runtime.packages import overlay, uv
from fsd.webui.steps import StepFailed, clean_environment, run_step

LOCKS = Path(__file__).parent / "locks"
_INSTALL_LIMIT_S = 3600.0
_LIMIT_S = 600.0
_PINNED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
_SHOWN = r"^\s*(Downloading .*\((\d{3,}\.\d*MiB|.*GiB)\)|Prepared|Installed)"
_GUEST = Path(__file__).parent / "guest"
"""Modules of ours that a web UI may load, as its models' .yaml files name classes in them."""
BUILD_TOOLS = LOCKS / "build.txt"
"""setuptools and wheel, with hashes: what packages without a wheel are built with."""


def python_of(folder: Path) -> Path:
    """The environment's Python, whether it is there or not."""
    return folder / "bin" / "python"


def version_of(folder: Path) -> str:
    """The environment's Python version, such as "3.10"; "" if it says none."""
    try:
        text = (folder / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
    return found[1] if found else ""


def find_uv() -> list[str]:
    """The command that runs uv; MachineError without one."""
    if found := overlay.find_uv():
        return found
    raise MachineError("uv is not installed, and it makes the web UI's environment", "run fsd setup webui")


def choose_python(versions: tuple[str, ...]) -> tuple[str, Path]:
    """The first of the versions that this machine has, and its program; else the first of all is brought by uv.

    MachineError with what uv said if that fails.
    """
    for version in versions:
        try:
            return version, _found(version, "--no-python-downloads")
        except StepFailed:
            continue
    report.say(f"  this machine has no Python {' or '.join(versions)}: uv brings {versions[0]}")
    step = f"getting Python {versions[0]}"
    run_step(step, [*find_uv(), "python", "install", versions[0]], clean_environment(), _LIMIT_S, _SHOWN)
    return versions[0], _found(versions[0])


def make_environment(folder: Path, python: Path) -> None:
    """A new, empty environment of that Python; whatever was in the folder goes."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [*find_uv(), "venv", "--quiet", "--no-project", "--no-config", "--python", str(python), str(folder)]
    run_step("making the environment", command, clean_environment(), _LIMIT_S)


def fill_environment(folder: Path, lock: Path, packages: Callable[[], Path | None] = lambda: None) -> int:
    """Install what the lock names and is not there whole, every file checked by its hash; return how many packages.

    packages: gives the folder that holds their files, or None to take them from the network.
    MachineError when packages still lack files after they were fetched anew, past uv's cache.
    """
    total = len(broken := broken_packages(folder, lock))
    here = packages() if broken else None
    source = ["--no-index", "--find-links", str(here)] if here else []
    for options in ([], ["--no-cache"]):  # files here are links to those in the cache, and may be broken in both
        if not broken:
            break
        report.say(f"  {len(broken)} of {len(pinned(lock))} packages of {lock.name}")
        there = _records(folder)
        again = [part for name in broken if name in there for part in ("--reinstall-package", name)]
        _install(folder, lock, [*options, *source, *again])
        broken = broken_packages(folder, lock)
    if broken:
        raise MachineError(
            f"the environment {folder} lacks {', '.join(broken[:5])}", f"delete {folder} and run it again"
        )
    return total


def _install(folder: Path, lock: Path, options: list[str]) -> None:
    command = [
        *find_uv(), "pip", "install", "--no-config", "--python", str(python_of(folder)), "--no-deps",
        "--require-hashes", "-r", str(lock), "--build-constraints", str(BUILD_TOOLS), *options,
    ]  # fmt: skip
    environment = clean_environment(**{"UV_HTTP_TIMEOUT": "120"} | uv.settings())
    run_step("installing the packages", command, environment, _INSTALL_LIMIT_S, _SHOWN)


def put_guest(folder: Path) -> bool:
    """Lay the modules of `fsd/webui/guest` into the environment; return whether any was new or another."""
    site, changed = next(folder.glob("lib/python3*/site-packages")), False
    for module in sorted(_GUEST.glob("*.py")):
        content, target = module.read_bytes(), site / module.name
        if not target.is_file() or target.read_bytes() != content:
            write_bytes(target, content)
            changed = True
    return changed


def works(folder: Path, modules: tuple[str, ...] = ()) -> bool:
    """Whether the environment's Python runs and finds the modules; nothing of them is loaded."""
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules!r})))"
    try:
        run_step("trying the environment", [str(python_of(folder)), "-c", code], clean_environment(), _LIMIT_S)
    except StepFailed:
        return False
    return True


def broken_packages(folder: Path, lock: Path) -> list[str]:
    """The lock's packages that the environment lacks, has in another version, or of which files are gone or empty.

    Read from the packages' own records: no network, nothing run.
    """
    there = _records(folder)
    return [
        name
        for name, version in sorted(pinned(lock).items())
        if name not in there or not there[name].name.endswith(f"-{version}.dist-info") or not _complete(there[name])
    ]


def _records(folder: Path) -> dict[str, Path]:
    """The folder in which each installed package keeps its record, by the package's name."""
    found = folder.glob("lib/python3*/site-packages/*.dist-info")
    return {_normal(metadata.name.partition("-")[0]): metadata for metadata in found}


def pinned(lock: Path) -> dict[str, str]:
    """Package name -> version of a lock; names as the registry's rules write them."""
    return {_normal(name): version for name, version in _PINNED.findall(lock.read_text(encoding="utf-8"))}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _complete(metadata: Path) -> bool:
    """Whether every file of a package is there and not empty where it should not be."""
    try:
        rows = list(csv.reader((metadata / "RECORD").read_text(encoding="utf-8").splitlines()))
    except OSError:
        return False
    for name, _, size in rows:
        try:
            if os.stat(metadata.parent / name).st_size == 0 and size not in ("", "0"):
                return False
        except OSError:
            if not name.endswith(".pyc"):
                return False
    return True


def _found(version: str, *options: str) -> Path:
    command = [*find_uv(), "python", "find", "--no-project", "--no-config", *options, version]
    path = Path(run_step(f"looking for Python {version}", command, clean_environment(), _LIMIT_S).splitlines()[-1])
    if not path.is_file():
        raise StepFailed(f"looking for Python {version}", "not found", [], f"install Python {version}")
    return path
