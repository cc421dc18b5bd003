"""Write PROFILE-PLATFORM-PYTHON.txt: what `fsd setup PROFILE` installs beyond what a platform has, with SHA-256s.

The requirements are setup.py's; what a platform has stands in PLATFORM-PYTHON.in beside this file: Colab's whole image, or
for a machine without a GPU the CPU build of torch, which the registry does not have. Versions follow cpu.txt there; torch
is held to that version, without a hash, as any build of it will do where there is none yet.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from as_of import OPTIONS  # noqa: E402

from fsd.runtime.packages.installed import Found, provider  # noqa: E402
from fsd.runtime.packages.profiles import PROFILES, Profile  # noqa: E402
from fsd.runtime.packages.requirements import in_range, normal  # noqa: E402
from fsd.runtime.packages.resolve import resolved  # noqa: E402
from fsd.runtime.packages.uv import WANTED  # noqa: E402

PLATFORMS = {"cpu": ("3.11", "3.13"), "colab": ("3.12", "3.13")}
LINUX = "x86_64-manylinux_2_35"
PIN = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)


def image(platform: str, python: str) -> dict[str, Found]:
    """What a platform has, by name."""
    path = HERE / f"{platform}-{python}.in"
    pins = PIN.findall(path.read_text(encoding="utf-8"))
    return {normal(name): Found(normal(name), version, False, ()) for name, version in pins}


def lock(profile: Profile, platform: str, python: str) -> str:
    """The lock's text: one entry for each package that the platform lacks or has out of range."""
    there = image(platform, python)
    wanted, old = [], set()
    for need in profile.parsed():
        found = provider(need.name, there)
        if found is None or not in_range(found.version, need.range):
            wanted.append(need.line())
            old |= {found.name} if found else set()
    pins = []
    if platform == "cpu":
        same = PIN.findall((HERE / "cpu.txt").read_text(encoding="utf-8"))
        pins = [f"{name}=={version}" for name, version in same if normal(name) not in there]
    options = [*OPTIONS, "--python-version", python, "--python-platform", LINUX]
    packages = resolved([*wanted, WANTED], there, old, pins, options)
    head = f"# Made by wheels/locks/make.py: what {profile.name} needs beyond {platform}-{python}.in on Linux x86_64.\n"
    if platform == "cpu":
        head += "".join(f"{name}=={one.version.partition('+')[0]}\n" for name, one in there.items())
    return head + "".join(
        f"{package['name']}=={package['version']}"
        + "".join(
            f" \\\n    --hash=sha256:{sum_}"
            for sum_ in sorted({file["hashes"]["sha256"] for file in package["wheels"]})
        )
        + "\n"
        for package in packages
    )


def main(platforms: list[str]) -> None:
    """Make the locks of every profile for the platforms named, for all by default."""
    for platform in platforms or PLATFORMS:
        for python in PLATFORMS[platform]:
            for profile in PROFILES.values():
                text = lock(profile, platform, python)
                (HERE / f"{profile.name}-{platform}-{python}.txt").write_text(text, encoding="utf-8")
                print(f"{profile.name} on {platform}, Python {python}: {text.count('==')} packages")
