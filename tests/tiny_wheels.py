"""Tiny wheels and installed packages, made in a moment: what the tests of `fsd setup` install."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path


def tiny_files(name: str, version: str, needs: tuple[str, ...] = (), code: str = "") -> dict[str, str]:
    """What a distribution of one module holds: path -> text."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return {
        f"{module}.py": code or f"version = {version!r}\n",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }


def tiny_wheel(folder: Path, name: str, version: str, *needs: str, code: str = "") -> Path:
    """A wheel in a folder that any installer takes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = tiny_files(name, version, needs, code)
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    record = next(file for file in files if file.endswith("/WHEEL")).replace("/WHEEL", "/RECORD")
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        rows = [f"{file},sha256={_sum(text)},{len(text)}\n" for file, text in files.items()]
        wheel.writestr(record, "".join([*rows, f"{record},,\n"]))
    return path


def tiny_installed(folder: Path, name: str, version: str, *needs: str, code: str = "") -> None:
    """The same as if a machine's image had brought it into a folder of packages."""
    for file, text in tiny_files(name, version, needs, code).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")


def _sum(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
