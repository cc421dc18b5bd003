"""What the machine is: Python, GPU, memory, disk and the packages that training needs. No torch is loaded."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fsd.runtime import colab, report

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "bitsandbytes", "opencv-python-headless")
_OPTIONAL = {"bitsandbytes": "8-bit AdamW on a GPU"}


def survey() -> dict[str, Any]:
    """The machine as plain JSON values; sizes in bytes, a missing package has the version None."""
    return {
        "python": platform.python_version(),
        "colab": colab.in_colab(),
        "gpu": gpu(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "free_disk_bytes": shutil.disk_usage(Path.cwd()).free,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def in_lines(found: dict[str, Any]) -> str:
    """Python, GPU, memory and disk of a survey, for people."""
    lines = [
        f"Python {found['python']}{' on Colab' if found['colab'] else ''}",
        f"GPU: {found['gpu'] or 'none (the tiny base model trains on a CPU; others need a GPU)'}",
        f"{found['cores']} cores, {report.human_bytes(found['memory_bytes'])} of memory, "
        f"{report.human_bytes(found['free_disk_bytes'])} free on disk",
    ]
    return "\n".join(lines)


def as_text(found: dict[str, Any]) -> str:
    """A survey for people, with what to do about what is missing."""
    lines = [in_lines(found), ", ".join(f"{name} {version}" for name, version in found["packages"].items() if version)]
    missing = [name for name, version in found["packages"].items() if not version]
    lines += [f"not installed: {name}{f' ({_OPTIONAL[name]})' if name in _OPTIONAL else ''}" for name in missing]
    if any(name not in _OPTIONAL for name in missing):
        lines.append("to install what is missing: fsd setup train")
    return "\n".join(lines)


@dataclass(frozen=True)
class Gpu:
    """The first GPU as its driver describes it. bf16: whether it reckons in bfloat16, as all since Ampere do."""

    name: str
    memory_bytes: int
    bf16: bool


def gpu() -> str:
    """The first GPU's name and memory as the driver says, or ""."""
    return _asked("name,memory.total")


def gpu_facts() -> Gpu | None:
    """The first GPU, None without one."""
    try:
        name, memory, capability = _asked("name,memory.total,compute_cap").split(", ")
        return Gpu(name, int(memory.split()[0]) << 20, float(capability) >= 8)
    except ValueError:
        return None


def _asked(what: str) -> str:
    query = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return ""


def _version(package: str) -> str | None:
    for name in (package, package.removesuffix("-headless")):  # Colab has both OpenCVs, others often only one
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
