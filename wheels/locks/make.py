"""Write every lock: from setup.py's extras and the short files *.in beside this one. Asks the registry; needs uv.

python wheels/locks/make.py [constraints] [cpu] [colab] [webui]        (all without a name; run with Python 3.11)

constraints: cpu.txt, exact versions of all that the demo and the tests install, for Python 3.11 to 3.13 on a CPU.
cpu, colab: what each profile of `fsd setup` installs there (make_profiles.py).
webui: what the web UIs' own environments hold, in fsd/webui/locks (make_webui.py).
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
PARTS = ("constraints", "cpu", "colab", "webui")


def requirements() -> list[str]:
    """What setup.py's test extra asks for, without our own wheel."""
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    given = setup.call_args.kwargs
    wanted = [*given["install_requires"], *given["extras_require"]["test"]]
    return [TORCH, *(name for name in wanted if not re.match(r"torch\b|fsd-", name))]


def resolve() -> list[str]:
    """NAME==VERSION of each package that pip would install, sorted; Python 3.11's versions, which all three can use."""
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *requirements()], capture_output=True, check=True
    )
    found = [row["metadata"] for row in json.loads(answer.stdout)["install"]]
    return sorted(f"{row['name'].lower()}=={row['version'].split('+')[0]}" for row in found)


def main(parts: list[str]) -> None:
    """Make the parts named, all by default."""
    import make_profiles
    import make_webui

    if wrong := [part for part in parts if part not in PARTS]:
        sys.exit(f"there is no {wrong[0]}: choose from {', '.join(PARTS)}")
    for part in parts or PARTS:
        if part == "constraints":
            lines = ["# Made by make.py: constraints for a machine without a GPU.", *resolve()]
            (HERE / "cpu.txt").write_text("\n".join(lines) + "\n")
            print(f"cpu.txt: {len(lines) - 1} packages")
        elif part == "webui":
            make_webui.main([])
        else:
            make_profiles.main([part])


if __name__ == "__main__":
    main(sys.argv[1:])
