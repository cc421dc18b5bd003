"""Single files that a web UI can open as they are."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

from fsd.errors import DownloadError
from fsd.families import FAMILIES
from fsd.weights.base_model import find_base_model
from fsd.weights.hub import hub_file
from fsd.weights.parts import read_json


def family_file(base: str) -> Path | None:
    """The downloaded file that a family's base folder was made from, so that nothing is converted back."""
    if base not in FAMILIES:
        return None
    record = find_base_model(base) / "fsd.json"
    made_from = read_json(record).get("made_from") if record.is_file() else None
    for source in FAMILIES[base].sources:
        if made_from and source.file:
            with suppress(DownloadError):  # it came from another source, or is gone from the cache
                if (file := hub_file(source, True)).name == made_from:
                    return file
    return None


def opens(file: Path) -> bool:
    """Whether the web UI's safe unpickler takes the file: all .safetensors, and the ZIPs with the entries that it knows."""
    if file.suffix == ".safetensors":
        return True
    try:
        names = [name.partition("/")[2] for name in zipfile.ZipFile(file).namelist()]
    except (OSError, zipfile.BadZipFile):
        return False
    known = ("data.pkl", "byteorder", "version")
    return all(name in known or name.startswith("data/") for name in names)
