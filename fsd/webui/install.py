"""Installing a web UI: pinned checkouts and an environment of its own, on local disk; a second run checks and repairs."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsd.errors import MachineError
from fsd.runtime import colab, report
from fsd.runtime.files import make_folder, sha256, write_json
from fsd.runtime.packages import wheel_house
from fsd.webui import environment as environments
from fsd.webui.checkout import check_out, is_at
from fsd.webui.flavors import Flavor, Repository
from fsd.webui.provisions import Provisions, need_space, provisions
from fsd.webui.steps import clean_environment

_RECORD = "installed.json"


@dataclass(frozen=True)
class Installed:
    """A web UI that is ready to start. folder: its checkout; python: of its own environment; record: what is in it."""

    flavor: Flavor
    folder: Path
    python: Path
    record: dict[str, Any] = field(repr=False, compare=False)

    def command(self, arguments: list[str]) -> list[str]:
        """What starts it, with the flavor's flags and then these; run it in `folder`."""
        return [str(self.python), str(self.folder / "launch.py"), *self.flavor.flags, *arguments]

    def environment(self) -> dict[str, str]:
        """All the variables that it starts with: this process's, without secrets and what is meant for other Pythons.

        pip and uv, run by an extension, are held to versions that do not break the web UI.
        """
        constraints = str(environments.LOCKS / self.flavor.constraints)
        path = os.pathsep.join(filter(None, [str(self.python.parent), os.environ.get("PATH", "")]))
        return clean_environment(
            MPLBACKEND="Agg",  # Colab's own would make every child that draws fail
            PIP_CONSTRAINT=constraints,
            UV_CONSTRAINT=constraints,
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            VIRTUAL_ENV=str(self.python.parents[1]),
            PATH=path,
            **dict(self.flavor.environment),
        )


def software_folder() -> Path:
    """Where web UIs are installed: FSD_WEBUI_HOME, else fsd/webui in the user's cache. MachineError if it is on Drive."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("FSD_WEBUI_HOME") or Path(cache) / "fsd" / "webui").expanduser().absolute()
    if colab.MOUNT_POINT in (folder, *folder.parents, *folder.resolve().parents):
        raise MachineError(
            f"{folder} is on Google Drive, which is too slow for a program of 60,000 files",
            "set FSD_WEBUI_HOME to a folder on this machine's own disk, or leave it unset",
        )
    return folder


def find_installed(flavor: Flavor) -> Installed | None:
    """The installation of a flavor if there is one and it is of today's pins: a few small files are read, no more."""
    home = software_folder() / flavor.name
    try:
        record = json.loads((home / _RECORD).read_text(encoding="utf-8"))
        lock = environments.LOCKS / f"{flavor.lock}-{record['python']}.txt"
        whole = record["lock_sha256"] == sha256(lock) and record["commits"] == _commits(flavor)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = _installed(flavor, record)
    there = found.python.is_file() and (found.folder / "launch.py").is_file()
    heads = all(is_at(found.folder / part.folder, part.commit) for part in flavor.repositories)
    return found if whole and there and heads else None


def install(flavor: Flavor, root: Path | None = None, save: bool = False) -> Installed:
    """Install a flavor, or check what is installed and repair it; says each step.

    root: the folder of all sessions, in which a wheelhouse is used if it is there. save: make it, if it is not there or
    does not serve.
    DownloadError or MachineError that name the step that failed, with its last lines. What was done stays done: the
    next run goes on from there. While it runs, and after it failed, `find_installed` finds nothing.
    """
    home, started = software_folder() / flavor.name, time.monotonic()
    with _alone(home):
        report.say(f"{flavor.title} {flavor.version} in {home}")
        if find_installed(flavor) is None:
            need_space(home, flavor, root, save)
        (home / _RECORD).unlink(missing_ok=True)
        version, new = _environment(flavor, home / "env")
        locks = (lock_of(flavor, version), environments.BUILD_TOOLS)
        house = wheel_house.path_in(root, flavor.name, version) if root else None
        with provisions(flavor, locks, house, save, home) as given:
            changed = [part.title for part in flavor.repositories if _checked_out(part, home / "app", given)]
            filled = _filled(flavor, home / "env", version, given)
            record = _record(flavor, version)
            write_json(home / _RECORD, record)
            given.keep(home / "app", environments.python_of(home / "env"))
    took_s = time.monotonic() - started
    work = f"installed in {took_s:.0f} s" if new or changed or filled else f"checked in {took_s:.0f} s, nothing to do"
    report.say(f"{flavor.title} {flavor.version}: {work}")
    return _installed(flavor, record)


def _checked_out(part: Repository, app: Path, given: Provisions) -> bool:
    """Bring one repository to its commit; return whether anything had to be done."""
    if changed := check_out(part, app / part.folder, given.pack_of):
        report.say(f"  {part.title}: at {part.commit[:12]}")
    return changed


def _environment(flavor: Flavor, folder: Path) -> tuple[str, bool]:
    """Make an environment unless there is one that works; return its Python's version ("3.10") and whether it is new."""
    version = environments.version_of(folder)
    if new := version not in flavor.pythons or not environments.works(folder):
        version, python = environments.choose_python(flavor.pythons)
        report.say(f"  a new environment with Python {version}")
        environments.make_environment(folder, python)
    return version, new


def _filled(flavor: Flavor, folder: Path, version: str, given: Provisions) -> bool:
    """Make the environment whole; return whether anything had to be done."""
    python = environments.python_of(folder)
    filled = environments.fill_environment(folder, lock_of(flavor, version), lambda: given.packages(python))
    filled += environments.put_guest(folder)
    if not environments.works(folder, flavor.modules):
        named = ", ".join(flavor.modules)
        raise MachineError(f"the environment {folder} lacks one of {named}", f"delete {folder} and run it again")
    return bool(filled)


def lock_of(flavor: Flavor, python: str) -> Path:
    """The file with the exact versions and hashes for a flavor on a Python such as "3.10"."""
    return environments.LOCKS / f"{flavor.lock}-{python}.txt"


def _record(flavor: Flavor, python: str) -> dict[str, Any]:
    lock = lock_of(flavor, python)
    return {
        "flavor": flavor.name,
        "version": flavor.version,
        "python": python,
        "commits": _commits(flavor),
        "lock": lock.name,
        "lock_sha256": sha256(lock),
        "packages": len(environments.pinned(lock)),
    }


def _commits(flavor: Flavor) -> dict[str, str]:
    return {part.folder or ".": part.commit for part in flavor.repositories}


def _installed(flavor: Flavor, record: dict[str, Any]) -> Installed:
    home = software_folder() / flavor.name
    return Installed(flavor, home / "app", environments.python_of(home / "env"), record)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the installation's lock; MachineError if another process holds it."""
    try:
        make_folder(home)
        with (home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as fault:
        raise MachineError(f"another process is installing in {home}", "wait until it is done") from fault
    except PermissionError as fault:
        raise MachineError(
            f"{fault.filename or home} may not be written", "set FSD_WEBUI_HOME to another folder"
        ) from fault
