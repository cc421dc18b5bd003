"""The notebooks' first cell where a package is missing: pip brings fsd alone, setup the rest, a wheelhouse the next time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from notebook_runner import ROOT, STAND_IN, code_cells, error, filled, printed, run_cells, shown
from tiny_wheels import tiny_wheel

PIP = """
import sys
from pathlib import Path
sys.modules["fsd"] = None  # as if it were not installed

def pip(line):
    print("pip", line)
    del sys.modules["fsd"]
    sys.path.insert(0, {installed!r})
    from fsd.runtime import colab
    colab.MOUNT_POINT = Path({mount!r})

get_ipython().register_magic_function(pip, magic_name="pip")
"""
USED = """
import subprocess, sys, fsd_alpha, fsd_beta
from fsd.runtime.process import child_environment
code = "import fsd_alpha; print('a child has', fsd_alpha.version)"
print(subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True).stdout)
"""


@dataclass(frozen=True)
class Image:
    """A machine's image: it lacks fsd, and fsd-alpha, which fsd's metadata ask for and a folder as registry has."""

    folder: Path

    def run(self, notebook: str, turn: int, colab: bool, *, registry: bool = True, **form: Any) -> list[Any]:
        """The first cell, what it brought in use, and the first cell again, in a fresh runtime."""
        runtime = self.folder / f"runtime{turn}"
        runtime.mkdir()
        text = PIP.format(installed=str(self.folder / "installed"), mount=str(self.folder / "drive"))
        first = filled(code_cells(ROOT / "notebooks" / notebook)["setup"], source="fsd.whl", **form)
        cells = [SimpleNamespace(source=text), first, SimpleNamespace(source=USED), first]
        found = str(self.folder / ("registry" if registry else "nothing"))
        settings = {"UV_FIND_LINKS": found, "UV_CACHE_DIR": str(runtime / "cache")}
        _, *ran = run_cells(cells, runtime, [STAND_IN] if colab else [], **settings)
        assert [error(cell) + printed(cell, "stderr") for cell in ran] == ["", "", ""]
        assert "a child has 1.0" in printed(ran[1])
        assert "fsd-alpha  1.0      overlay  yes" in shown(ran[2])
        return ran


@pytest.fixture
def image(tmp_path: Path) -> Image:
    lines = ["Metadata-Version: 2.1", "Name: fsd", "Version: 9.9", "Requires-Dist: tqdm>=4.66"]
    lines += [f'Requires-Dist: fsd-alpha>=1; extra == "{job}"' for job in ("train", "webui")]
    shutil.copytree(ROOT / "fsd", tmp_path / "installed/fsd", ignore=shutil.ignore_patterns("__pycache__", "*photos*"))
    (tmp_path / "installed/fsd-9.9.dist-info").mkdir()
    (tmp_path / "installed/fsd-9.9.dist-info/METADATA").write_text("\n".join(lines) + "\n")
    (tmp_path / "nothing").mkdir()
    tiny_wheel(tmp_path / "registry", "fsd-alpha", "1.0", "fsd-beta")
    tiny_wheel(tmp_path / "registry", "fsd-beta", "1.0")
    return Image(tmp_path)


@pytest.mark.parametrize("notebook", ["fast_dreambooth.ipynb", "fast_webui.ipynb"])
def test_the_first_cell_brings_what_is_missing_and_asks_nobody_for_drive(image: Image, notebook: str) -> None:
    first, _, again = image.run(notebook, 1, colab=True)
    said = printed(first).splitlines()
    assert said[0] == 'pip install -q --no-deps "fsd.whl"'
    assert "installing 2 packages: fsd-alpha, fsd-beta" in said
    assert "on Colab" in shown(first) and "1 reused, 2 new packages from the network; ready in" in shown(first)
    assert not printed(again) and "2 reused, nothing to install" in shown(again)
    assert not (image.folder / "drive").exists()


def test_a_ticked_wheelhouse_on_drive_serves_the_next_runtime_without_a_network(image: Image) -> None:
    first, *_ = image.run("fast_dreambooth.ipynb", 1, colab=True, save_wheelhouse=True)
    house = next((image.folder / "drive/MyDrive/Fast-Dreambooth/wheelhouse").glob("train-*.zip"))
    assert "Mounted at" in printed(first) and f"wheelhouse: {house}" in printed(first)
    content = house.read_bytes()
    later, *_ = image.run("fast_dreambooth.ipynb", 2, colab=True, registry=False, save_wheelhouse=True)
    assert "2 new packages from the wheelhouse" in shown(later) and house.read_bytes() == content


def test_outside_colab_the_first_cell_looks_into_the_current_folder(image: Image) -> None:
    first, *_ = image.run("fast_webui.ipynb", 1, colab=False, save_wheelhouse=True)
    assert "2 new packages from the network" in shown(first)
    assert len(list((image.folder / "runtime1/Fast-Dreambooth/wheelhouse").glob("webui-*.zip"))) == 1


def test_what_the_cells_import_needs_no_package_at_all() -> None:
    cells = [code_cells(path)["setup"].source for path in (ROOT / "notebooks").glob("*.ipynb")]
    imports = [line for cell in cells for line in cell.splitlines() if line.startswith("from fsd.")]
    code = "\n".join([*imports, "from fsd.runtime import report", "print(setup().text)", "report.progress('x', 1)"])
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-S", "-c", code], env=bare, capture_output=True, text=True)
    assert "to install what is missing: fsd setup train" in ran.stdout
    assert "the package tqdm is not installed\n  What to do: install what the job needs: fsd setup train" in ran.stderr
