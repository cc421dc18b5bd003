"""The wheels that a plan lacks, as files or links: out of a wheelhouse, else from the network; and the wheelhouse made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fsd.errors import FsdError, MachineError
from fsd.runtime import report
from fsd.runtime.packages import overlay, wheel_house
from fsd.runtime.packages.choose import choose
from fsd.runtime.packages.plan import SetupPlan, plan_setup
from fsd.runtime.packages.resolve import Wheel
from fsd.runtime.packages.wheel_files import fetch_wheels

NETWORK = "the network"
_UNPACKED = 3
"""How much room wheels take in all, as files and unpacked, as a multiple of their size."""


def brought(plan: SetupPlan, house: Path | None, folder: Path, save: bool) -> tuple[list[Wheel], str]:
    """What the plan lacks and where it is from: out of the wheelhouse, else, which is said, from the network.

    save: whether it is to be put into a wheelhouse, which must hold all that another machine would lack.
    """
    why = ""
    if house and house.exists():
        try:
            return _from_wheelhouse(plan, house, folder), "the wheelhouse"
        except FsdError as fault:
            report.say(f"{fault.message}; so it is installed from the network")
            why = fault.message
    try:
        plan = plan_setup(plan.profile.name, with_overlay=False) if save else plan
        return from_network(plan, folder, save), NETWORK
    except FsdError as fault:
        if why:
            raise MachineError(f"{why}; and from the network: {fault.message}", fault.hint) from fault
        raise


def is_whole(house: Path) -> bool:
    """Whether a wheelhouse is there and as it was packed; what is wrong with it is said."""
    try:
        return house.exists() and bool(wheel_house.unpack(house, None))
    except wheel_house.Damaged as fault:
        report.say(fault.message)
        return False


def keep(house: Path, profile: str, wheels: Sequence[Wheel]) -> None:
    size_bytes = wheel_house.pack(house, profile, wheels)
    report.say(f"wheelhouse: {house}, {report.human_bytes(size_bytes)}, {len(wheels)} wheels")


def _from_wheelhouse(plan: SetupPlan, house: Path, folder: Path) -> list[Wheel]:
    """What the plan lacks as files out of a wheelhouse; FsdError where it is damaged or does not serve."""
    unpacked = _new_folder(folder / "wheelhouse")
    there = {wheel.file: wheel for wheel in wheel_house.unpack(house, unpacked)}
    return [there[wheel.file] for wheel in choose(plan, unpacked)]


def from_network(plan: SetupPlan, folder: Path, as_files: bool) -> list[Wheel]:
    """What the plan lacks: as files, if these are to be kept, else as links, for uv unpacks while it fetches."""
    wheels = choose(plan)
    overlay.need_room(_UNPACKED * sum(wheel.size_bytes for wheel in wheels))
    return fetch_wheels(wheels, _new_folder(folder / "fetched")) if as_files else wheels


def _new_folder(path: Path) -> Path:
    path.mkdir()
    return path
