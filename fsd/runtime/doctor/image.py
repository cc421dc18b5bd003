"""Which image this machine runs: one of Colab's, Kaggle's, or a system of its own. The standard library only."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from fsd.runtime import colab

RECORDED = {
    "2026-08-19": ("3.13", "2.11.0"),
    "2026.07": ("3.12", "2.11.0"),
    "2026.04": ("3.12", "2.10.0"),
    "2026.01": ("3.12", "2.9.0"),
    "2025.10": ("3.12", "2.8.0"),
    "2025.07": ("3.11", "2.6.0"),
}
"""Colab's runtimes that fsd's packages were resolved for: (Python, torch) by version or date of the image."""
NEWEST = "2026-08-19"
_OS_RELEASE = Path("/etc/os-release")


@dataclass(frozen=True)
class Image:
    """A machine's image. kind: "colab", "kaggle" or "other". recorded: the entry of RECORDED that it is like, or "".

    title: for people. system: distribution, C library and processor.
    """

    kind: str
    title: str
    recorded: str
    system: str


def this_image(torch: str | None) -> Image:
    """The image of this machine; nothing is loaded or run. torch: the version that is installed, None if none is."""
    system = f"{_distribution()}, {' '.join(platform.libc_ver())}, {platform.machine()}"
    if colab.in_colab():
        recorded = _like(platform.python_version(), torch or "")
        tag = os.environ.get("COLAB_RELEASE_TAG", "")
        known = f"as recorded {recorded}" if recorded else "of a version that fsd has no record of"
        return Image("colab", f"Google Colab {known}{f' ({tag})' if tag else ''}", recorded, system)
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return Image("kaggle", "Kaggle", "", system)
    return Image("other", "a machine of your own", "", system)


def typed(command: str) -> str:
    """A command as it is typed on this machine: in a notebook's cell it begins with a "!"."""
    notebook = colab.in_colab() or "ipykernel" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ
    return f"{'!' * notebook}{command}"


def _like(python: str, torch: str) -> str:
    """The recorded runtime with these versions; where torch is missing, the only one with this Python."""
    release, built = ".".join(python.split(".")[:2]), torch.partition("+")[0]
    names = [
        name for name, versions in RECORDED.items() if versions in ((release, built), (release, torch or versions[1]))
    ]
    return names[0] if len(names) == 1 else ""


def _distribution() -> str:
    try:
        text = _OS_RELEASE.read_text(encoding="utf-8")
    except OSError:
        return f"{platform.system()} {platform.release()}"
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', text, re.MULTILINE)
    return found[1] if found else platform.system()
