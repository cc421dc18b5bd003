"""What is installed is all that the package holds: no file is forgotten by setup.py."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("machine", ["sys.version_info = (3, 10, 14)", "sys.platform = 'win32'"])
def test_a_python_or_system_that_fsd_is_not_for_is_told_so_at_once(machine: str) -> None:
    code = f"import sys; {machine}; import fsd.pipeline"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1 and not ran.stdout
    assert ran.stderr.startswith("fsd needs Python 3.11 or newer on Linux or macOS; this is Python 3")
    assert len(ran.stderr.splitlines()) == 2


def test_every_file_of_the_package_is_installed() -> None:
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    given = setup.call_args.kwargs
    installed = {path for package in given["packages"] for path in (ROOT / package.replace(".", "/")).glob("*.py")}
    for package, patterns in given["package_data"].items():
        assert package in given["packages"], f"{package} is no package, so its data are not installed"
        installed |= {path for pattern in patterns for path in (ROOT / package.replace(".", "/")).glob(pattern)}
    there = {path for path in (ROOT / "fsd").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert sorted(str(path.relative_to(ROOT)) for path in there - installed) == []
