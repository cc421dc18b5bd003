"""Large files brought to where a web UI looks for them: room first, then whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fsd.errors import DownloadError, FsdError, MachineError
from fsd.families.preprocessors import Weights
from fsd.runtime import files, report
from fsd.runtime.report import human_bytes
from fsd.weights.hub import hub_file
from fsd.weights.hub_errors import HubUnreachable

_SPARE_BYTES = 64 << 20
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Item:
    """A file that is to lie at `path`. here: where its bytes are on this machine already, None if they must come."""

    path: Path
    size_bytes: int
    here: Path | None = None


def need_room(items: Iterable[Item]) -> None:
    """Say what is to come and how much room there is; MachineError when it does not fit, before anything comes.

    What comes from the hub lies in its cache first; on the same disk it takes no room twice.
    """
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for item in items:
        report.say(f"  {item.path.name}: {human_bytes(item.size_bytes)}, {'is here' if item.here else 'to fetch'}")
        target = _existing(item.path.parent)
        if item.here:
            touched = {} if _disk(item.here) == _disk(target) else {_disk(target): target}
        else:
            touched = {_disk(folder): folder for folder in (_hub_cache(), target)}
        for disk, folder in touched.items():
            needed[disk] = needed.get(disk, 0) + item.size_bytes
            folders.setdefault(disk, folder)
    for disk, size in needed.items():
        free = shutil.disk_usage(folders[disk]).free
        amounts = f"{human_bytes(size)} in all, and {human_bytes(free)} are free"
        if size + _SPARE_BYTES > free:
            hint = "make room there, or set FSD_HOME (files) and HF_HOME (downloads) to a larger disk"
            raise MachineError(f"no space in {folders[disk]}: {amounts}", hint)
        report.say(f"  {folders[disk]}: {amounts}")


def cached(weights: Weights) -> Path | None:
    """The file in the hub's cache, None where no source's is there."""
    for source in weights.sources:
        try:
            return hub_file(source, offline=True)
        except DownloadError:
            continue
    return None


def fetch(weights: Weights, check: Callable[[Path], None]) -> Path:
    """The file in the hub's cache, from the first source whose file passes `check`.

    check: raises what is wrong with a file, which is then deleted. With one fault that one is raised, with several one
    DownloadError that tells them all.
    """
    faults: list[FsdError] = []
    for source in weights.sources:
        try:
            found = hub_file(source, offline=any(isinstance(fault, HubUnreachable) for fault in faults))
        except DownloadError as fault:
            faults.append(fault)
            continue
        try:
            check(found)
            return found
        except FsdError as fault:
            forget(found)
            faults.append(fault)
    if len(faults) == 1:
        raise faults[0]
    reasons = "; ".join(dict.fromkeys(fault.message for fault in faults))
    raise DownloadError(f"no source has {weights.name}: {reasons}", faults[0].hint)


def forget(file: Path) -> None:
    """Delete a download, in the hub's cache also what its name points to."""
    file.resolve().unlink(missing_ok=True)
    file.unlink(missing_ok=True)


def place(source: Path, target: Path) -> Path:
    """`target` with the bytes of `source`, whole or not at all: by a second name on the same disk, else by a copy.

    A copy is read back before it gets its name: Drive takes files that it then does not keep. MachineError when the
    disk is full or what was read back differs.
    """
    source = source.resolve()
    try:
        with files.replacing(target) as temporary:
            try:
                os.link(source, temporary)
            except OSError:  # another disk, or one without links such as Drive
                _copy(source, temporary)
    except OSError as fault:
        raise MachineError(f"{target} could not be written: {fault.strerror}", "make room there") from None
    return target


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return _existing(Path(constants.HF_HUB_CACHE))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def _disk(path: Path) -> int:
    return path.stat().st_dev


def _copy(source: Path, target: Path) -> None:
    """Copy in blocks, with a bar; MachineError unless it reads back as it was."""
    digest = hashlib.sha256()
    with (
        source.open("rb") as reader,
        target.open("wb") as writer,
        report.progress(f"to {target.parent.name}", source.stat().st_size, unit="B") as bar,
    ):
        while block := reader.read(_BLOCK_BYTES):
            digest.update(block)
            bar.update(writer.write(block))
        writer.flush()
        os.fsync(writer.fileno())
    if files.sha256(target) != digest.hexdigest():
        hint = "run it again; if it happens again, Drive is full or the disk is failing"
        raise MachineError(f"{target.parent} does not keep what is written: {source.name} reads back different", hint)
