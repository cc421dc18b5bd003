"""Write fsd/webui/locks/*.txt: exact versions and SHA-256s of all that the web UIs' environments hold, on Linux x86_64.

python wheels/locks/make_webui.py [NAME ...]     (asks pip's registry; needs uv and Python 3.11)

What is wanted stands in webui-NAME.in beside this file: the web UI's own pins, and what its ControlNet asks for.
The registry's PyTorch for Linux is the CUDA build; it runs on a CPU too, so there is one lock for both.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from as_of import OPTIONS

HERE = Path(__file__).parent
LOCKS = HERE.parents[1] / "fsd/webui/locks"
PYTHONS = ("3.10", "3.11")
PLATFORM = "x86_64-manylinux_2_28"
ONE_CV2 = ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
"""Four packages hold the same module, and several packages ask for one or another: the fullest headless one serves all."""
BUILD_TOOLS = "setuptools==69.5.1\nwheel==0.43.0\n"
HEAD = "# Made by wheels/locks/make_webui.py for Linux on x86_64.\n"


def lock(wanted: str, python: str) -> str:
    """The lock of requirements for one Python: a line for each package with the hashes of the files that fit."""
    with tempfile.TemporaryDirectory() as folder:
        given, overrides, made = Path(folder, "wanted.in"), Path(folder, "over.txt"), Path(folder, "pylock.toml")
        given.write_text(wanted)
        overrides.write_text("".join(f"{name} ; python_version < '3'\n" for name in ONE_CV2))
        command = [
            "uv", "pip", "compile", "--quiet", "--no-config", *OPTIONS, "--format", "pylock.toml", "--python-version", python,
            "--python-platform", PLATFORM, "--override", str(overrides), "--output-file", str(made), str(given),
        ]  # fmt: skip
        subprocess.run(command, check=True)
        packages = tomllib.loads(made.read_text())["packages"]
    return HEAD + "".join(_line(package, python.replace(".", "")) for package in packages)


def _line(package: dict[str, Any], python: str) -> str:
    """NAME==VERSION with the hash of every wheel that fits, of the source where none does."""
    files = [file for file in package.get("wheels", ()) if _fits(_name(file), python)] or [package["sdist"]]
    hashes = sorted({file["hashes"]["sha256"] for file in files})
    return (
        f"{package['name']}=={package['version']}" + "".join(f" \\\n    --hash=sha256:{sum_}" for sum_ in hashes) + "\n"
    )


def _name(file: dict[str, Any]) -> str:
    return file.get("name") or file.get("url", "").rpartition("/")[2]


def _fits(wheel: str, python: str) -> bool:
    interpreter, abi, platform = wheel.removesuffix(".whl").split("-")[-3:]
    of_python = f"cp{python}" in interpreter.split(".") or re.search(r"\bpy3", interpreter) or abi == "abi3"
    return bool(of_python) and (
        platform == "any" or ("linux" in platform and "x86_64" in platform and "musl" not in platform)
    )


def main(names: list[str]) -> None:
    """Make the locks of the web UIs named, of all by default."""
    (LOCKS / "build.txt").write_text(lock(BUILD_TOOLS, PYTHONS[0]))
    for source in sorted(HERE.glob("webui-*.in")):
        name = source.stem.removeprefix("webui-")
        for python in PYTHONS if not names or name in names else ():
            text = lock(source.read_text(), python)
            (LOCKS / f"{name}-{python}.txt").write_text(text)
            print(f"{name} on Python {python}: {text.count('==')} packages")


if __name__ == "__main__":
    main(sys.argv[1:])
