"""`fsd setup`: what a job needs and the machine lacks goes into the overlay, in seconds; what is there is used as it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fsd.errors import FsdError, MachineError
from fsd.runtime import report
from fsd.runtime.packages import overlay
from fsd.runtime.packages.bring import NETWORK, brought, from_network, is_whole, keep
from fsd.runtime.packages.fill import fill
from fsd.runtime.packages.installed import installed, lost_file, provider
from fsd.runtime.packages.plan import SetupPlan, plan_setup
from fsd.runtime.packages.profiles import OPTIONAL, PROFILES, Profile, need_profile
from fsd.runtime.packages.requirements import in_range
from fsd.runtime.packages.resolve import Wheel
from fsd.runtime.packages.setup_result import Row, SetupResult
from fsd.runtime.packages.validate import try_imports

__all__ = ["PROFILES", "Profile", "SetupPlan", "SetupResult", "check", "install", "plan_setup"]


def install(profile: str, wheelhouse: Path | None = None, save: bool = False) -> SetupResult:
    """Install what a profile lacks into the overlay, let this process see it, and try every package in a child.

    wheelhouse: a file to install from without the network, if it is there and whole. save: make it if it is not there,
    or does not serve here. An overlay that does not work and has lost files is made anew.
    MachineError or DownloadError in one sentence; the machine's own packages are not changed, whatever happens.
    """
    result = _installed(profile, wheelhouse, save)
    if result.failed and (lost := lost_file()):
        report.say(f"{lost} is not as it was installed: {overlay.folder()} is made anew")
        with overlay.alone():
            overlay.discard()
        result = _installed(profile, wheelhouse, save)
    return result


def _installed(profile: str, wheelhouse: Path | None, save: bool) -> SetupResult:
    started = time.monotonic()
    plan = plan_setup(profile)
    for name, version in plan.outdated.items():
        report.say(f"{name} {version} is too old or too new for {profile}: another goes beside it")
    new, source = _install(plan, wheelhouse, save) if plan.missing else ([], "")
    if save and wheelhouse and not plan.missing and not is_whole(wheelhouse):
        _make_wheelhouse(profile, wheelhouse)
    overlay.activate()
    installed_s = time.monotonic() - started
    return check(profile, new, source, installed_s)


def check(profile: str, new: Sequence[Wheel] = (), source: str = "", installed_s: float = 0.0) -> SetupResult:
    """Import every package of a profile in a child process; the result says of each where it is from and if it works."""
    started = time.monotonic()
    job, found = need_profile(profile), installed()
    answers = try_imports([*dict.fromkeys(job.checks)])
    names, rows = {wheel.name for wheel in new}, []
    for need, module in zip(job.parsed(), job.checks, strict=True):
        there, answer = provider(need.name, found), answers[module]
        fits = there is not None and in_range(there.version, need.range)
        origin = "new" if need.name in names else "overlay" if there and there.overlay else "machine"
        works = answer.error or ("yes" if fits else f"not {need.line()}")
        rows.append(Row(need.name, there.version if there else "none", origin, works, need.name in OPTIONAL))
    others = tuple(sorted(names - {row.name for row in rows}))
    cuda = next((answer.cuda for answer in answers.values() if answer.cuda), "")
    return SetupResult(profile, tuple(rows), others, source, cuda, installed_s, time.monotonic() - started)


def need_working(result: SetupResult) -> SetupResult:
    """The result, or MachineError that names what does not work and why."""
    if failed := result.failed:
        report.say(result.as_text())
        what = "; ".join(f"{row.name} {row.version}: {row.works}" for row in failed)
        raise MachineError(f"installed, but not working: {what}", _what_to_do(result))
    return result


def _what_to_do(result: SetupResult) -> str:
    """What helps where the fault is: in the machine's own packages, in torch's build, or in the overlay."""
    failed = {row.name: row.origin for row in result.failed}
    if names := " ".join(name for name, origin in failed.items() if origin == "machine"):
        return f"{sys.executable} -m pip install --force-reinstall {names}, or choose another runtime version"
    again = f"delete {overlay.folder()} and run setup again"
    if result.cuda and "torch" in failed:
        return f"{again} with UV_TORCH_BACKEND=auto set: PyTorch's build for this machine's driver is taken"
    return f"{again}; if it stays so, choose another runtime version"


def _install(plan: SetupPlan, wheelhouse: Path | None, save: bool) -> tuple[list[Wheel], str]:
    """Bring the missing wheels and lay them into the overlay; return them and where they came from."""
    with overlay.alone() as folder:
        overlay.make()
        wheels, source = brought(plan, wheelhouse, folder, save)
        fill(wheels, folder, replaces=any(one.overlay for one in plan.found.values()))
        if save and wheelhouse and source == NETWORK:
            keep(wheelhouse, plan.profile.name, wheels)
    return wheels, source


def _make_wheelhouse(profile: str, house: Path) -> None:
    """Keep what a machine like this lacks for a profile in one file; what is installed stays as it is."""
    plan = plan_setup(profile, with_overlay=False)
    if not plan.missing:
        old = "; delete the damaged one" if house.exists() else ""
        report.say(f"nothing to put into a wheelhouse: this machine has all that {profile} needs{old}")
        return
    with overlay.alone() as folder:
        overlay.make()
        try:
            wheels = from_network(plan, folder, as_files=True)
        except FsdError as fault:
            what = f"all is installed, but the wheelhouse {house} cannot be made: {fault.message}"
            raise MachineError(what, fault.hint) from fault
        keep(house, profile, wheels)
