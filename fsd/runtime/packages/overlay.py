"""The overlay: an environment that sees all that the machine has and holds what it lacks. The machine's own stays as it is.

The running process imports from it through `sys.path`, a child through PYTHONPATH; nothing is restarted.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import colab, report
from fsd.runtime.files import make_folder

_MACHINE_PTH = "fsd_machine.pth"


def folder() -> Path:
    """Where this Python's overlay lies: below FSD_OVERLAY, else below fsd/overlay in the user's cache.

    A Python of another version or place has another one. MachineError if it would be on Drive.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = Path(os.environ.get("FSD_OVERLAY") or Path(cache) / "fsd" / "overlay").expanduser().absolute()
    if colab.MOUNT_POINT in (home, *home.parents, *home.resolve().parents):
        hint = "set FSD_OVERLAY to a folder on this machine's own disk, or leave it unset"
        raise MachineError(f"{home} is on Google Drive, which is too slow for packages", hint)
    key = hashlib.sha256(f"{sys.version} {sys.prefix}".encode()).hexdigest()[:8]
    return home / f"{sys.implementation.cache_tag}-{key}"


def packages() -> Path:
    """The overlay's folder of packages, whether it is there or not."""
    base = str(folder())
    return Path(sysconfig.get_path("purelib", "venv", vars={"base": base, "platbase": base}))


def python() -> Path:
    """The overlay's Python, whether it is there or not."""
    return folder() / "bin" / "python"


def make() -> None:
    """Make the overlay unless it is there and runs."""
    from venv import EnvBuilder

    nested = sys.prefix != sys.base_prefix
    try:
        if not python().exists() or _unfinished().exists():
            discard()
            EnvBuilder(system_site_packages=not nested, symlinks=True, with_pip=False).create(folder())
        if nested:  # a virtual environment of a virtual environment would see the packages of neither
            lines = [f"import site; site.addsitedir({path!r})\n" for path in machine_paths() if Path(path).is_dir()]
            (packages() / _MACHINE_PTH).write_text("".join(lines), encoding="utf-8")
    except OSError as fault:
        hint = "set FSD_OVERLAY to a folder on a disk with space that you may write to"
        raise MachineError(f"the overlay {folder()} cannot be made: {fault.strerror or fault}", hint) from fault


@contextmanager
def changing() -> Iterator[None]:
    """While inside, and for good if it is killed there, nobody uses the overlay: the next setup makes it anew.

    An error deletes it: half an installation is of no use, and takes space.
    """
    _unfinished().touch()
    try:
        yield
    except BaseException:
        discard()
        raise
    _unfinished().unlink()


def discard() -> None:
    """Delete the overlay."""
    shutil.rmtree(folder(), ignore_errors=True)


def is_whole() -> bool:
    """Whether there is an overlay and every installation into it came to its end."""
    return packages().is_dir() and not _unfinished().exists()


def machine_paths() -> list[str]:
    """The folders of packages that the machine brings, in the order in which this process looks into them."""
    known = [*site.getsitepackages(), site.getusersitepackages()]
    return [path for path in sys.path if path in known]


def activate() -> bool:
    """Let this process import what the overlay holds; return whether there is an overlay.

    A notebook's kernel goes on with all that it has: the overlay is looked into last. Elsewhere it comes before the
    machine's packages, as in the children, so that what the machine has too old is found in the overlay.
    """
    path = str(packages())
    if not is_whole():
        return False
    if path not in sys.path:
        first = min((sys.path.index(known) for known in machine_paths()), default=len(sys.path))
        sys.path.insert(len(sys.path) if "ipykernel" in sys.modules else first, path)
    importlib.invalidate_caches()
    return True


def child_paths() -> list[str]:
    """What a child's PYTHONPATH must hold, after this package and before the rest, to see the overlay."""
    return [str(packages())] if is_whole() else []


def find_uv() -> list[str]:
    """The command that runs uv: the machine's program, the overlay's, or this Python's module; [] without one."""
    return next(iter(every_uv()), [])


def every_uv() -> list[list[str]]:
    """Every command that runs a uv, in the order in which they are tried."""
    programs = [shutil.which("uv"), shutil.which("uv", path=str(python().parent))]
    module = [[sys.executable, "-P", "-m", "uv"]] if find_spec("uv") else []
    return [*([program] for program in programs if program), *module]


def _unfinished() -> Path:
    """A mark that lies in the overlay while something is installed into it."""
    return folder() / "unfinished"


@contextmanager
def alone() -> Iterator[Path]:
    """Hold the overlay's lock, and yield an empty folder on its disk that goes afterwards.

    MachineError if another process holds it or the folder cannot be written.
    """
    path, work = folder().with_suffix(".lock"), folder().with_suffix(".work")
    try:
        make_folder(path.parent)
        lock = path.open("w")
    except OSError as fault:
        hint = "set FSD_OVERLAY to a folder that you may write to"
        raise MachineError(f"the overlay cannot be made in {path.parent}: {fault.strerror}", hint) from fault
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            what = f"another process is installing into {folder()}"
            raise MachineError(what, "wait until it is done") from fault
        try:
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
            work.mkdir()
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def need_room(size_bytes: int) -> None:
    """Nothing, or MachineError when the overlay's disk has less free than so much."""
    free = shutil.disk_usage(folder().parent).free
    if free < size_bytes:
        what = f"the packages need {report.human_bytes(size_bytes)} in {folder().parent}, where"
        what += f" {report.human_bytes(free)} are free"
        raise MachineError(what, "free space there, or set FSD_OVERLAY to a folder on a larger disk")
