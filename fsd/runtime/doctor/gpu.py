"""The GPU as the doctor looks at it: its driver, whether torch can use it, and what it has the memory to train."""

from __future__ import annotations

import re
import subprocess
from typing import Any

from fsd.families import FAMILIES
from fsd.families.rules import can_train
from fsd.runtime import colab
from fsd.runtime.doctor.finding import BOTH, TRAINING, WEB_UI, Findings
from fsd.runtime.doctor.image import typed
from fsd.runtime.packages.installed import Found

_LEAST_DRIVER = {"11": 450, "12": 525, "13": 580}
"""The oldest driver that runs programs of a CUDA release, by its major version (NVIDIA's compatibility table)."""
_BF16 = 8.0
"""The compute capability with which bf16 came (NVIDIA's Ampere); before it, torch only imitates it, slowly."""
_TINY_ALONE = "for the tiny base model alone"


def look_at_gpu(found: Findings, torch: Found | None) -> None:
    """Add the GPU, its driver, whether the installed torch can use them, and what is left where there is none."""
    gpu = _ask_driver()
    found.figures["gpu"] = gpu
    if not gpu:
        found.say("GPU", "none")
        found.limit(TRAINING, f"{_TINY_ALONE}: there is no GPU")
        found.limit(WEB_UI, "slowly: there is no GPU")
        if colab.in_colab():
            found.problem("this runtime has no GPU", "Runtime > Change runtime type > T4 GPU, then run this again")
        return
    found.say("GPU", f"{gpu['name']}, {gpu['memory']}, driver {gpu['driver']}")
    _look_at_size(found, gpu)
    if torch:
        _look_at_fit(found, gpu, torch)


def _look_at_size(found: Findings, gpu: dict[str, Any]) -> None:
    """Add the families that there is memory for, and the precision."""
    mebibytes = re.match(r"\d+", gpu["memory"])
    have_gb = int(mebibytes[0]) * 1.048576e-3 if mebibytes else 0.0
    trained = {name: family for name, family in FAMILIES.items() if can_train(family)}
    embedded = [name for name, family in trained.items() if family.sources[0].package]  # small enough for any machine
    needs = {name: method.memory_gb for name, family in trained.items() if (method := family.method("full"))
             if name not in embedded}  # fmt: skip
    fit = [name for name, need_gb in needs.items() if need_gb <= have_gb]
    found.figures["trains"] = fit
    found.say("", f"trains in full: {', '.join([*embedded, *fit])}")
    if not fit:
        name, least_gb = min(needs.items(), key=lambda item: item[1])
        found.limit(TRAINING, f"{_TINY_ALONE}: {name} takes {least_gb:g} GB of GPU memory and here are {have_gb:.1f}")
    if float(gpu["compute_capability"]) < _BF16:
        found.say("", "no bf16: precision auto takes fp16")


def _look_at_fit(found: Findings, gpu: dict[str, Any], torch: Found) -> None:
    """Add what keeps this torch from using this GPU."""
    if torch.version.endswith("+cpu"):
        found.problem(
            f"torch {torch.version} is a build without CUDA: the GPU would not be used",
            f"install the torch that https://pytorch.org/get-started/locally names for CUDA, then {typed('fsd doctor')}",
        )
        found.limit(TRAINING, f"{_TINY_ALONE}: torch cannot use the GPU")
        found.limit(WEB_UI, "slowly: torch cannot use the GPU")
    least, driver = _LEAST_DRIVER.get(_cuda(torch), 0), re.match(r"\d+", gpu["driver"])
    if driver and int(driver[0]) < least:
        found.problem(
            f"the GPU's driver {gpu['driver']} is too old for torch {torch.version} (CUDA {_cuda(torch)})",
            f"update the driver to {least} or newer, or install a torch for an older CUDA",
            *BOTH,
        )


def _cuda(torch: Found) -> str:
    """The major release of CUDA that a torch is built for, by its version or by what it asks for; "" if neither tells."""
    asked = " ".join([torch.version, *(need.name for need in torch.needs)])
    found = re.search(r"\+cu(1\d)", torch.version) or re.search(r"\bnvidia-[a-z-]+-cu(1\d)\b", asked)
    return found[1] if found else ""


def _ask_driver() -> dict[str, Any]:
    """What the driver says of the first GPU; empty without one."""
    names = ("name", "memory", "driver", "compute_capability")
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return {}
    parts = [part.strip() for part in said.split(",")]
    return dict(zip(names, parts, strict=True)) if len(parts) == len(names) else {}
