"""Write every lock: from setup.py's extras and the short files *.in beside this one. Asks the registry; needs uv.

python wheels/locks/make.py [constraints] [cpu] [colab] [webui]        (all without a name)

What the registry got later than as_of.py says is not seen, so a second run changes nothing; for newer versions move that date.

constraints: cpu.txt, exact versions of all that the demo and the tests install, for Python 3.11 to 3.13 on a CPU.
cpu, colab: what each profile of `fsd setup` installs there (make_profiles.py).
webui: what the web UIs' own environments hold, in fsd/webui/locks (make_webui.py).
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from as_of import OPTIONS

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
    """NAME==VERSION of each package to install, sorted; Python 3.11's versions, which all three can use.

    The registry's torch is the CUDA build; what only that one asks for is left out.
    """
    command = ["uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", *OPTIONS]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_35", "-"]
    answer = subprocess.run(command, input="\n".join(requirements()), stdout=subprocess.PIPE, text=True, check=True)
    return sorted(line for line in answer.stdout.splitlines() if not re.match(r"(cuda|nvidia)-|triton\b", line))


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
