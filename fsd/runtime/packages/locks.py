"""The locks of `fsd setup`: exact versions and SHA-256s for each profile and platform, made by wheels/locks/make.py."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import colab, machine
from fsd.runtime.packages.requirements import normal
from fsd.runtime.packages.resolve import Wheel

_FOLDER = Path(__file__).parent / "locks"
_PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)((?:\s*\\\n\s*--hash=sha256:[0-9a-f]{64})*)", re.MULTILINE)

Lock = Mapping[str, tuple[str, frozenset[str]]]
"""Package -> its version and the SHA-256s of the files that may be it."""


def read_lock(path: Path) -> Lock:
    """A lock's packages; empty when there is no such file."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return {
        normal(name): (version, frozenset(re.findall(r"[0-9a-f]{64}", sums)))
        for name, version, sums in _PIN.findall(text)
    }


def lock_for(profile: str) -> Lock:
    """The lock for a profile on this machine: Colab's or that for a CPU, of this Python; empty where none was made."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):  # whose files the locks name
        return {}
    image = "colab" if colab.in_colab() else "" if machine.gpu() else "cpu"
    python = ".".join(map(str, sys.version_info[:2]))
    return read_lock(_FOLDER / f"{profile}-{image}-{python}.txt")


def check_against(lock: Lock, wheels: Iterable[Wheel]) -> None:
    """Nothing, or MachineError that names a wheel of a locked version that is not one of the locked files."""
    for wheel in wheels:
        version, sums = lock.get(wheel.name, ("", frozenset()))
        if version == wheel.version and sums and wheel.sha256 not in sums:
            hint = "do not install it: report it with this line"
            raise MachineError(f"{wheel.file} is not the file that fsd's lock names: SHA-256 {wheel.sha256}", hint)
