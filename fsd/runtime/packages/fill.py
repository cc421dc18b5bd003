"""Wheels into the overlay: uv fetches, checks and unpacks them side by side, while one bar tells how far it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fsd.runtime import report
from fsd.runtime.packages import overlay, uv
from fsd.runtime.packages.resolve import Wheel
from fsd.runtime.packages.wheel_files import bar_of_bytes

_FEW = 12
_LIMIT_S = 4 * 3600.0
_DONE = re.compile(r"^\s*Downloaded (\S+)")


def fill(wheels: Sequence[Wheel], work: Path, replaces: bool) -> None:
    """Install exactly these files into the overlay, from their links or paths, each checked by its SHA-256.

    work: a folder on the overlay's disk. replaces: whether earlier packages are in the overlay, which is then left alone
    until all are fetched. MachineError says why it cannot be done.
    """
    exact, here = work / "exact.txt", all("://" not in one.where for one in wheels)
    exact.write_text("".join(f"{one.name} @ {one.link} --hash=sha256:{one.sha256}\n" for one in wheels))
    common = ["pip", "install", "--no-config", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    common += ["--python", str(overlay.python()), "-r", str(exact)]
    if here:  # what is unpacked of such files is of no use to anybody later
        common += ["--cache-dir", str(work / "unpacked")]
    names = f": {', '.join(sorted(one.name for one in wheels))}" if len(wheels) < _FEW else ""
    report.say(f"installing {len(wheels)} packages{names}")
    if replaces and not here:
        _run([*common, "--target", str(work / "first")], wheels)
    with overlay.changing():
        _run(common, [] if here or replaces else wheels)


def _run(command: list[str], counted: Sequence[Wheel]) -> None:
    """Run uv with a bar of the wheels' bytes, without one when there are none to count."""
    left = {one.name: one.size_bytes for one in counted}
    total = sum(left.values())
    what = "the packages cannot be installed"
    if not total:
        uv.run(what, command)
        return
    with bar_of_bytes(total) as bar:

        def heard(line: str) -> None:
            if found := _DONE.match(line):  # said of the larger ones alone
                bar.update(left.pop(found[1], 0))

        uv.run(what, command, heard=heard, limit_s=_LIMIT_S)
        bar.update(sum(left.values()))
