"""Write cpu.txt: exact versions of everything that the demo and the tests install, for Python 3.11 to 3.13 on a CPU.

python wheels/locks/make.py        (asks pip's registry; run with Python 3.11, whose versions all three can use)
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TORCH = "torch==2.13.0"


def requirements() -> list[str]:
    """What setup.py's test extra asks for, without our own wheel."""
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    given = setup.call_args.kwargs
    wanted = [*given["install_requires"], *given["extras_require"]["test"]]
    return [TORCH, *(name for name in wanted if not re.match(r"torch\b|fsd-", name))]


def resolve() -> list[str]:
    """NAME==VERSION of each package that pip would install, sorted."""
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *requirements()], capture_output=True, check=True
    )
    found = [row["metadata"] for row in json.loads(answer.stdout)["install"]]
    return sorted(f"{row['name'].lower()}=={row['version'].split('+')[0]}" for row in found)


if __name__ == "__main__":
    lines = ["# Made by make.py: constraints for a machine without a GPU.", *resolve()]
    (HERE / "cpu.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines) - 1} packages")
