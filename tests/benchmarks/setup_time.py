"""`fsd setup` beside plain pip installing the same set, and beside unpacking the same wheels in parallel (the floor).

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


def ours(machine: Path, work: Path, name: str, profile: str, house: str = "", save: str = "", **more: str) -> dict:
    """Run our setup on a fresh copy of the machine; its own figures."""
    python, environment = fresh(machine, work, name)
    command = [python, "-c", OURS, profile, house, save]
    ended = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(ROOT)} | more, stdout=subprocess.PIPE, text=True, check=True
    )
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


def floor(wheels: Path, target: Path) -> float:
    """Seconds to unpack the wheels, as many at a time as there are cores."""
    shutil.rmtree(target, ignore_errors=True)
    started = time.monotonic()
    unpack = "import sys, zipfile; [zipfile.ZipFile(one).extractall(sys.argv[1]) for one in sys.argv[2:]]"
    files = sorted(wheels.glob("*.whl"), key=lambda file: -file.stat().st_size)
    cores = os.cpu_count() or 1
    parts = [files[at::cores] for at in range(cores)]
    children = [subprocess.Popen([sys.executable, "-c", unpack, target, *part]) for part in parts if part]
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
    ours(machine, work, "saving", given.profile, str(house), "save")
    shutil.rmtree(wheels, ignore_errors=True)
    with zipfile.ZipFile(house) as archive:
        archive.extractall(wheels)
    cold = ours(machine, work, "cold", given.profile)
    again = ours(machine, work, "again", given.profile, str(house), UV_OFFLINE="1")
    assert again["source"] == "the wheelhouse"
    seconds = {
        "pip, from the registry": pip(machine, work, "pip-cold", wheels),
        "pip, from a folder of the wheels": pip(
            machine, work, "pip", wheels, "--no-index", "--find-links", str(wheels)
        ),
        "fsd setup, from the registry": cold["installed_s"],
        "fsd setup, from the wheelhouse": again["installed_s"],
        "unpacking in parallel (the floor)": floor(wheels, work / "unpacked"),
    }
    count, size_mb = len(list(wheels.glob("*.whl"))), house.stat().st_size / 1e6
    print(f"{given.profile}: {count} wheels, {size_mb:.0f} MB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    slowest, base = seconds["pip, from the registry"], seconds["unpacking in parallel (the floor)"]
    for name, took_s in seconds.items():
        print(f"{name:36} {took_s:7.1f} s  {slowest / took_s:6.1f} x faster than pip  {took_s / base:6.1f} x the floor")
    print(f"the check of every package afterwards: {cold['checked_s']:.1f} s and {again['checked_s']:.1f} s")


if __name__ == "__main__":
    main()
