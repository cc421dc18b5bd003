"""`fsd setup` beside plain pip installing the same set, and beside two floors: what has to be done in any case.

From a wheelhouse the wheels have to be unpacked, from the registry they have to be fetched, too: in parallel, the links
known, nothing checked.

    python tests/benchmarks/setup_time.py [--profile webui] [--work build/setup_time] [--torch torch==2.13.0]

The machine is a fresh virtual environment of this Python with PyTorch in it, linked anew for each way; each way starts
with empty caches. Asks the registry. One run, printed as ratios; the check after an installation is a figure of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
OURS = """
import json, sys
from pathlib import Path
from fsd.runtime import report
from fsd.runtime.wheels import install
report.to_standard_error()
profile, house, save = sys.argv[1:]
result = install(profile, Path(house) if house else None, save == "save")
assert not result.failed, result.as_text()
new = [[row.name, row.version] for row in result.rows if row.origin == "new"]
print(json.dumps({"source": result.source, "installed_s": result.installed_s, "checked_s": result.checked_s, "new": new}))
"""


LINKS = """
import json, sys
from fsd.runtime import report
from fsd.runtime.packages import overlay
from fsd.runtime.packages.choose import choose
from fsd.runtime.wheels import plan_setup
report.to_standard_error()
overlay.make()
print(json.dumps([wheel.link for wheel in choose(plan_setup(sys.argv[1]))]))
"""
UNPACK = """
import io, sys, urllib.request, zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed
target, *links = sys.argv[1:]
with ThreadPoolExecutor(8) as pool:
    for done in as_completed([pool.submit(lambda link=link: urllib.request.urlopen(link).read()) for link in links]):
        zipfile.ZipFile(io.BytesIO(done.result())).extractall(target)
"""


def build_machine(folder: Path, torch: str) -> Path:
    """A virtual environment with pip and PyTorch, as a machine's image would bring it."""
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", torch, "numpy", "tqdm"], check=True)
    return folder


def fresh(machine: Path, work: Path, name: str) -> tuple[Path, dict[str, str]]:
    """A linked copy of the machine, its Python, and variables with caches of its own and no configured indexes."""
    copy = work / name
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-al", machine, copy], check=True)
    own = {"FSD_OVERLAY": "overlay", "UV_CACHE_DIR": "uv-cache", "XDG_CACHE_HOME": "cache"}
    indexes = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key not in indexes}
    environment |= {key: str(copy / value) for key, value in own.items()} | {"PIP_CONFIG_FILE": os.devnull}
    return copy / "bin/python", environment


def on_copy(machine: Path, work: Path, name: str, code: str, *words: str, **more: str) -> Any:
    """What a program of ours prints as JSON on a fresh copy of the machine."""
    python, environment = fresh(machine, work, name)
    environment |= {"PYTHONPATH": str(ROOT)} | more
    ended = subprocess.run([python, "-c", code, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout)


def pip(machine: Path, work: Path, name: str, wheels: Path, *options: str) -> float:
    """Seconds that plain pip takes for the same versions on a fresh copy of the machine."""
    python, environment = fresh(machine, work, name)
    pins = ["==".join(file.name.split("-")[:2]) for file in sorted(wheels.glob("*.whl"))]
    started = time.monotonic()
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-cache-dir", *options, *pins], env=environment, check=True
    )
    return time.monotonic() - started


def floor(links: list[str], target: Path) -> float:
    """Seconds to read and unpack what is behind the links, by as many processes as there are cores."""
    shutil.rmtree(target, ignore_errors=True)
    cores = os.cpu_count() or 1
    parts = [links[at::cores] for at in range(cores)]
    started = time.monotonic()
    children = [subprocess.Popen([sys.executable, "-c", UNPACK, target, *part]) for part in parts if part]
    assert not any(child.wait() for child in children)
    return time.monotonic() - started


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--profile", default="webui")
    words.add_argument("--work", type=Path, default=ROOT / "build" / "setup_time")
    words.add_argument("--torch", default="torch==2.13.0")
    given = words.parse_args()
    work: Path = given.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    machine, house, wheels = build_machine(work / "machine", given.torch), work / "house.zip", work / "wheels"
    on_copy(machine, work, "saving", OURS, given.profile, str(house), "save")
    shutil.rmtree(wheels, ignore_errors=True)
    with zipfile.ZipFile(house) as archive:
        archive.extractall(wheels)
    files = sorted(wheels.glob("*.whl"), key=lambda file: -file.stat().st_size)
    sizes = {file.name: file.stat().st_size for file in files}
    links = on_copy(machine, work, "links", LINKS, given.profile)
    links.sort(key=lambda link: -sizes.get(unquote(link.rpartition("/")[2]), 0))
    cold = on_copy(machine, work, "cold", OURS, given.profile, "", "")
    again = on_copy(machine, work, "again", OURS, given.profile, str(house), "", UV_OFFLINE="1")
    assert again["source"] == "the wheelhouse"
    folder = ("--no-index", "--find-links", str(wheels))
    figures = {
        "registry": {
            "pip": pip(machine, work, "pip-cold", wheels),
            "fsd setup": cold["installed_s"],
            "the floor: fetching and unpacking": floor(links, work / "unpacked"),
        },
        "wheels on disk": {
            "pip, from a folder": pip(machine, work, "pip", wheels, *folder),
            "fsd setup, from the wheelhouse": again["installed_s"],
            "the floor: unpacking": floor([file.as_uri() for file in files], work / "unpacked"),
        },
    }
    print(f"{given.profile}: {len(files)} wheels, {house.stat().st_size / 1e6:.0f} MB", end="; ")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    slowest = figures["registry"]["pip"]
    for source, seconds in figures.items():
        print(f"{source}:")
        base = list(seconds.values())[-1]
        for name, took_s in seconds.items():
            ratios = f"{slowest / took_s:6.1f} x as fast as pip from the registry  {took_s / base:6.1f} x the floor"
            print(f"  {name:34} {took_s:7.1f} s  {ratios}")
    print(f"the check of every package afterwards: {cold['checked_s']:.1f} s and {again['checked_s']:.1f} s")


if __name__ == "__main__":
    main()
