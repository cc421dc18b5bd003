"""Whether a stage has room, said before it begins, with the sizes of all that is to come."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import colab, report
from fsd.runtime.drive import on_drive
from fsd.runtime.report import human_bytes

SPARE_BYTES = 256 << 20
_PIXEL_BYTES = 3
_FRAME_BYTES = 16 << 10
"""A PNG's settings and, in a grid, a picture's label and margin."""


@dataclass(frozen=True)
class Need:
    """What will be written: what it is, for people, the folder that it goes into, and its size."""

    what: str
    folder: Path
    size_bytes: int


def need_room(needs: Iterable[Need]) -> None:
    """MachineError listing what is to come, with sizes, unless each disk has room for its share and a little more.

    A disk that does not tell its room, such as a Drive that is away, is passed over, which is said. What Drive tells may
    be its cache on this machine's disk, not your quota: a full Drive is met, and said, when it is written to.
    """
    disks: dict[int, list[Need]] = {}
    for need in needs:
        try:
            if need.size_bytes:
                disks.setdefault(os.stat(_existing(need.folder)).st_dev, []).append(need)
        except OSError as fault:
            report.say(f"whether there is room for {need.what} in {need.folder} cannot be told: {fault.strerror}")
    for listed in disks.values():
        folder = _existing(listed[0].folder)
        disk, sizes = shutil.disk_usage(folder), sum(need.size_bytes for need in listed)
        total = sizes + min(SPARE_BYTES, sizes)
        if (free := disk.free) < total and disk.total:
            each = ", ".join(f"{need.what} {human_bytes(need.size_bytes)}" for need in listed)
            each += f", and {human_bytes(total - sizes)} in reserve"
            where = f"Google Drive ({colab.MOUNT_POINT})" if on_drive(folder) else f"the disk of {folder}"
            told = f"{human_bytes(total)} will be needed on {where}, {human_bytes(free)} are free: {each}"
            bins = ", and empty Drive's bin, which counts too" if on_drive(folder) else ""
            fewer = "; or make or keep fewer" if len(listed) > 1 else ""
            raise MachineError(told, f"run fsd clean-session to see what can go{bins}{fewer}")


def pictures_need(what: str, folder: Path, count: int, width_px: int, height_px: int) -> Need:
    """Room for so many PNGs, which take no more than their pixels do, also where they are parts of a grid."""
    return Need(f"{count} {what}", folder, count * (width_px * height_px * _PIXEL_BYTES + _FRAME_BYTES))


def _existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
