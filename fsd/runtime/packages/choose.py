"""Which wheels a profile still needs: first as locked, then as fits all that is there, then with other versions beside it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import machine, report
from fsd.runtime.packages import uv
from fsd.runtime.packages.installed import Found, kept_needs, provider
from fsd.runtime.packages.locks import Lock, check_against, lock_for
from fsd.runtime.packages.profiles import OPTIONAL, Profile
from fsd.runtime.packages.requirements import in_range, parsed
from fsd.runtime.packages.resolve import Wheel, resolve
from fsd.runtime.packages.uv import UvFailed

_TOOLS = ("pip", "setuptools", "wheel")
"""What an environment begins with, however old: nothing here depends on its version."""


@dataclass(frozen=True)
class SetupPlan:
    """What a profile finds. reused: name -> version there; missing: lines to install; outdated: name -> version there."""

    profile: Profile
    reused: dict[str, str]
    missing: tuple[str, ...]
    outdated: dict[str, str]
    found: dict[str, Found] = field(repr=False, compare=False)


def choose(plan: SetupPlan, wheels: Path | None = None) -> list[Wheel]:
    """The wheels to install. wheels: a folder to choose from instead of the registry.

    What the machine has of a profile's own requirements, in range, stays in any case; all else that is there, and what an
    earlier setup brought, stays unless nothing can be found that fits it. MachineError with the resolver's reason when
    nothing fits this machine.
    """
    lock = {} if wheels else lock_for(plan.profile.name)
    chosen = _chosen(plan, wheels, lock)
    if tied := _tied(plan, chosen):
        chosen = _chosen(plan, wheels, lock, tied)
    check_against(lock, chosen)
    _say_what_to_know(plan, chosen)
    return chosen


def _chosen(plan: SetupPlan, wheels: Path | None, lock: Lock, tied: frozenset[str] = frozenset()) -> list[Wheel]:
    """What the first way gives that has a solution. tied: packages that are there, and are to come anew."""
    wanted = [*_wanted(plan), *sorted(tied)]
    free = {*_names(plan.outdated, plan), *_TOOLS, *tied}
    pins = [f"{name}=={version}" for name, (version, _) in lock.items() if provider(name, plan.found) is None]
    reused = _names(plan.reused, plan)
    loose = {name for name, one in plan.found.items() if one.overlay or name not in reused}
    needed = [line for line in wanted if not _is_optional(line)]
    ways: list[Callable[[], list[Wheel]]] = [
        lambda: resolve(wanted, plan.found, free, pins=pins, wheels=wheels),
        lambda: resolve(wanted, plan.found, free, wheels=wheels),
        lambda: resolve(wanted, plan.found, loose, wheels=wheels),
        lambda: resolve(needed, plan.found, loose, wheels=wheels),
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


def _say_what_to_know(plan: SetupPlan, chosen: list[Wheel]) -> None:
    """Say what is left out, and that CUDA comes to a machine that has no use for it."""
    sizes = {wheel.name: wheel.size_bytes for wheel in chosen}
    for need in plan.profile.parsed():
        if need.name in OPTIONAL and need.line() in plan.missing and need.name not in sizes:
            report.say(f"{need.line()} has no build that fits this machine: it is left out")
    if "torch" in sizes and any(name.startswith("nvidia-") for name in sizes) and not machine.gpu():
        what = f"no GPU here, and torch comes with CUDA, {report.human_bytes(sum(sizes.values()))} in all"
        report.say(f"{what}: with UV_TORCH_BACKEND=cpu set, PyTorch's smaller CPU build is taken")


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
