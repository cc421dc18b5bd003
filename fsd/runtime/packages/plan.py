"""What of a profile a machine has, and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass, field

from fsd.runtime.packages.installed import Found, installed, lacking, provider
from fsd.runtime.packages.profiles import Profile, need_profile
from fsd.runtime.packages.requirements import in_range


@dataclass(frozen=True)
class SetupPlan:
    """What a profile finds. reused: name -> version there; missing: lines to install; outdated: name -> version there."""

    profile: Profile
    reused: dict[str, str]
    missing: tuple[str, ...]
    outdated: dict[str, str]
    found: dict[str, Found] = field(repr=False, compare=False)


def plan_setup(profile: str, with_overlay: bool = True) -> SetupPlan:
    """What of a profile is there and what is missing, from metadata alone: no network, nothing imported or written.

    with_overlay: whether what an earlier setup installed counts as there.
    """
    job = need_profile(profile)
    found = installed(with_overlay)
    reused: dict[str, str] = {}
    outdated: dict[str, str] = {}
    missing: list[str] = []
    for need in job.parsed():
        there = provider(need.name, found)
        if there and in_range(there.version, need.range):
            reused[need.name] = there.version
            continue
        if there:
            outdated[need.name] = there.version
        missing.append(need.line())
    missing += [need.line() for need in lacking(reused, found).values()]
    return SetupPlan(job, reused, tuple(dict.fromkeys(missing)), outdated, found)
