"""The jobs that `fsd setup` installs for, each with what setup.py's extra of that name asks for."""

from __future__ import annotations

from dataclasses import dataclass

from fsd.errors import MachineError, meant
from fsd.runtime.packages.requirements import Requirement, extras, parsed

_MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL.Image",
    "diffusers": "diffusers:UNet2DConditionModel",
    "transformers": "transformers:CLIPTextModel",
}
"""What is imported to try a package, where it is not its name; of packages that load late, something that loads much."""
OPTIONAL = ("bitsandbytes",)
"""Packages without which a job works, but for one setting; that they do not import is said and is no failure."""


@dataclass(frozen=True)
class Profile:
    """A job. requirements: lines with ranges. checks: for each line what is imported, MODULE or MODULE:ATTRIBUTE."""

    name: str
    requirements: tuple[str, ...]
    checks: tuple[str, ...]

    def parsed(self) -> list[Requirement]:
        """The requirements in their parts."""
        return [found for line in self.requirements if (found := parsed(line))]


def _profile(name: str, *jobs: str) -> Profile:
    lines = tuple(dict.fromkeys(line for job in jobs for line in extras().get(job, ()) if parsed(line)))
    checks = tuple(_MODULES.get(one.name, one.name.replace("-", "_")) for one in Profile(name, lines, ()).parsed())
    return Profile(name, lines, checks)


_JOBS = ("train", "webui", "caption")
PROFILES: dict[str, Profile] = {job: _profile(job, job) for job in _JOBS} | {"all": _profile("all", *_JOBS)}


def need_profile(name: str) -> Profile:
    """The profile of that name; MachineError with the valid ones, or when this copy of fsd does not know its own needs."""
    if name not in PROFILES:
        hint = f"{meant(name, PROFILES)}choose one of {', '.join(PROFILES)}"
        raise MachineError(f"there is no profile {name!r}", hint)
    if not PROFILES[name].requirements:
        what = "this copy of fsd has neither metadata nor its setup.py, so it does not know what it needs"
        raise MachineError(what, "install fsd with pip, or run it from its checkout")
    return PROFILES[name]
