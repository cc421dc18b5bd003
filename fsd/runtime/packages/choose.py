"""Which wheels a profile still needs: first as locked, then as fits all that is there, then with other versions beside it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import machine, report
from fsd.runtime.packages import uv
from fsd.runtime.packages.installed import kept_needs, provider
from fsd.runtime.packages.locks import Lock, check_against, lock_for
from fsd.runtime.packages.plan import SetupPlan
from fsd.runtime.packages.profiles import OPTIONAL
from fsd.runtime.packages.requirements import in_range, parsed
from fsd.runtime.packages.resolve import Wheel, resolve
from fsd.runtime.packages.uv import UvFailed

_BACKEND = "UV_TORCH_BACKEND"
_TOOLS = ("pip", "setuptools", "wheel")
"""What an environment begins with, however old: nothing here depends on its version."""


def choose(plan: SetupPlan, wheels: Path | None = None) -> list[Wheel]:
    """The wheels to install. wheels: a folder to choose from instead of the registry.

    What the machine has of a profile's own requirements, in range, stays in any case; all else that is there, and what an
    earlier setup brought, stays unless nothing can be found that fits it. Where there is no NVIDIA GPU torch comes in its CPU
    build, if that can be had. MachineError with the resolver's reason when nothing fits this machine.
    """
    lock = {} if wheels else lock_for(plan.profile.name)
    why, chosen = "", list[Wheel]()
    if not wheels and _brings_useless_cuda(plan):
        uv.need_uv()  # whose lack is no fault of that build
        report.say(f"no NVIDIA GPU here: PyTorch's CPU build is taken; {_BACKEND}=cu128, say, takes one with CUDA")
        try:
            chosen = _settled(plan, lock, partial(resolve, backend="cpu"))
        except MachineError as fault:
            why = getattr(fault, "why", fault.message)
    chosen = chosen or _settled(plan, lock, partial(resolve, wheels=wheels))
    check_against(lock, chosen)
    _say_what_to_know(plan, chosen, why)
    return chosen


def _brings_useless_cuda(plan: SetupPlan) -> bool:
    """Whether torch is still to come, nobody said in which build, and the registry's has CUDA for no GPU."""
    coming = any((need := parsed(line)) and need.name == "torch" for line in plan.missing)
    return coming and sys.platform == "linux" and not os.environ.get(_BACKEND) and not machine.gpu()


def _settled(plan: SetupPlan, lock: Lock, find: Callable[..., list[Wheel]]) -> list[Wheel]:
    """What `find` gives for a plan, with what is there and must come anew beside it."""
    chosen = _chosen(plan, lock, find)
    tied = _tied(plan, chosen)
    return _chosen(plan, lock, find, tied) if tied else chosen


def _chosen(
    plan: SetupPlan, lock: Lock, find: Callable[..., list[Wheel]], tied: frozenset[str] = frozenset()
) -> list[Wheel]:
    """What the first way gives that has a solution. tied: packages that are there, and are to come anew."""
    wanted = [*_wanted(plan), *sorted(tied)]
    free = {*_names(plan.outdated, plan), *_TOOLS, *tied}
    pins = [f"{name}=={version}" for name, (version, _) in lock.items() if provider(name, plan.found) is None]
    reused = _names(plan.reused, plan)
    loose = {name for name, one in plan.found.items() if one.overlay or name not in reused}
    needed = [line for line in wanted if not _is_optional(line)]
    ways: list[Callable[[], list[Wheel]]] = [
        lambda: find(wanted, plan.found, free, pins=pins),
        lambda: find(wanted, plan.found, free),
        lambda: find(wanted, plan.found, loose),
        lambda: find(needed, plan.found, loose),
    ]
    return _first(ways[0 if pins else 1 :], plan)


def _tied(plan: SetupPlan, chosen: list[Wheel]) -> frozenset[str]:
    """Packages that are there and were built for one version of what now comes in another, as torchvision for torch's."""
    coming = {wheel.name: wheel.version for wheel in chosen}
    return frozenset(
        one.name
        for one in plan.found.values()
        for need in kept_needs(one, plan.found)
        if one.name not in coming and need.name in coming and need.range.startswith("==")
        if not in_range(coming[need.name], need.range)
    )


def _is_optional(line: str) -> bool:
    need = parsed(line)
    return need is not None and need.name in OPTIONAL


def _say_what_to_know(plan: SetupPlan, chosen: list[Wheel], why: str) -> None:
    """Say what is left out, and that CUDA comes to a machine that has no use for it. why: it could not be kept out."""
    sizes = {wheel.name: wheel.size_bytes for wheel in chosen}
    for need in plan.profile.parsed():
        if need.name in OPTIONAL and need.line() in plan.missing and need.name not in sizes:
            report.say(f"{need.line()} has no build that fits this machine: it is left out")
    if why and any(name.startswith("nvidia-") for name in sizes):
        size = report.human_bytes(sum(sizes.values()))
        report.say(f"PyTorch's CPU build cannot be had: {why}")
        report.say(f"so torch comes with CUDA, {size} in all; Ctrl-C now, and run it again later, if that is too much")


def _wanted(plan: SetupPlan) -> list[str]:
    """The lines that the resolver gets: the profile's, by the names that are there, what else is missing, and uv."""
    lines = []
    for need in plan.profile.parsed():
        there = provider(need.name, plan.found) if need.name in plan.reused else None
        lines.append(f"{there.name if there else need.name}{need.range}")
    machines = shutil.which("uv")
    if not (machines and uv.is_recent([machines])):
        lines.append(uv.WANTED)  # for the next session, which may have nothing but a wheelhouse
    return list(dict.fromkeys([*lines, *plan.missing]))


def _names(needs: Iterable[str], plan: SetupPlan) -> set[str]:
    """The distributions that are there for some requirements, by their own names."""
    return {there.name for name in needs if (there := provider(name, plan.found))}


def _first(ways: Iterable[Callable[[], list[Wheel]]], plan: SetupPlan) -> list[Wheel]:
    """What the first way that has a solution gives; when none has, MachineError with the explanation of the last."""
    why = ""
    for way in ways:
        try:
            return way()
        except UvFailed as fault:
            if not fault.why.startswith("Because"):  # the network, the disk: another way would fail alike
                raise
            why = fault.why
    here = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    torch = f", torch {plan.reused['torch']}" if "torch" in plan.reused else ""
    what = f"no set of packages for {plan.profile.name} fits this machine ({here}{torch}): {why}"
    raise MachineError(
        what, "choose a runtime with Python 3.11 to 3.13 on 64-bit Linux, or install the named one yourself"
    )
