"""Machines that are not this one: the doctor in a bare interpreter that sees only the packages of a list."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from notebook_runner import ROOT, STAND_IN

_BARE = """
import collections, errno, json, os, shutil, sys
from pathlib import Path
given = json.loads(sys.argv[1])
outside = ("site-packages", "dist-packages")
sys.path = [given["root"], given["packages"], *given["more"],
            *(path for path in sys.path if path and not any(name in path for name in outside))]
import platform
if given["python"]:
    platform.python_version = lambda: given["python"]
from fsd.runtime import colab
from fsd.runtime.doctor import examine, sources
colab.MOUNT_POINT = Path(given["mount"])
if given["memory"]:
    pages = given["memory"] // os.sysconf("SC_PAGE_SIZE")
    os.sysconf = lambda name, there=os.sysconf: pages if name == "SC_PHYS_PAGES" else there(name)
space = collections.namedtuple("space", "total used free")
def free(path, there=shutil.disk_usage):
    on_drive = str(path).startswith(given["mount"])
    if on_drive and given["silent"]:
        import threading
        threading.Event().wait()
    if not on_drive:
        there(path)  # which fails where it would
    at_home = given["home_disk"] and str(path).startswith(given["home_disk"])
    size = given["drive_free"] if on_drive else given["home_free"] if at_home else given["free"]
    return space(100_000_000_000, 100_000_000_000 - size, size)
shutil.disk_usage = free
real = Path.stat
def stat(path, **options):
    if given["dead"] and str(path).startswith(given["mount"] + "/"):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    found = real(path, **options)
    if given["home_disk"] and str(path).startswith(given["home_disk"]):
        found = os.stat_result((*found[:2], -1, *found[3:]))
    return found
Path.stat = stat
if given["read_only"]:
    flags = os.statvfs
    os.statvfs = lambda path: os.statvfs_result([*flags(path)[:8], os.ST_RDONLY, 255])
if given["silent"]:
    from fsd.runtime.doctor import bounded
    bounded.ANSWERS_S = 0.2
if given["gone"]:
    os.rmdir(os.getcwd())
page = examine.examine(offline=not given["ask"])
import fsd.command_line
import fsd.webui.places
fsd.command_line.parser()
fsd.webui.places.places()
print(json.dumps({"page": page.text, "exit_code": page.exit_code, "figures": page, "loaded": sorted(sys.modules)}))
"""


class Machine:
    """A machine in a folder: packages by version, and what its hardware says."""

    def __init__(self, folder: Path, packages: dict[str, str], colab: bool = False, gpu: str = "") -> None:
        self.folder, self.colab = folder, colab
        self.facts: dict[str, Any] = {
            "free": 60e9,
            "drive_free": 9e9,
            "dead": False,
            "ask": False,
            "python": "",
            "memory": 0,
            "home_disk": "",
            "home_free": 60e9,
        }
        self.facts |= dict.fromkeys(("silent", "read_only", "gone"), False)
        for name, version in packages.items():
            record = folder / "packages" / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
            record.parent.mkdir(parents=True)
            record.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "bin").mkdir(parents=True)
        (folder / "work").mkdir()
        if gpu:
            driver = folder / "bin" / "nvidia-smi"
            driver.write_text(f"#!/bin/sh\necho '{gpu}'\n")
            driver.chmod(0o755)

    def need(self, package: str, *needs: str) -> None:
        """Have a package's metadata ask for others."""
        (record,) = (self.folder / "packages").glob(f"{package}-*/METADATA")
        record.write_text(record.read_text() + "".join(f"Requires-Dist: {need}\n" for need in needs))

    def mount_drive(self) -> None:
        """Mount Drive."""
        (self.folder / "drive" / "MyDrive").mkdir(parents=True)

    def doctor(self, **environment: str) -> dict[str, Any]:
        """What `examine` gives there: "page", "exit_code", "figures" and the modules "loaded"."""
        given = self.facts | {
            "root": str(ROOT), "packages": str(self.folder / "packages"), "mount": str(self.folder / "drive"),
            "more": [str(STAND_IN)] if self.colab else [],
        }  # fmt: skip
        known = {
            "PATH": str(self.folder / "bin"),
            "HOME": str(self.folder),
            "FSD_OVERLAY": str(self.folder / "overlay"),
        }
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _BARE, json.dumps(given)],
            capture_output=True, text=True, cwd=self.folder / "work", env=known | environment, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)
