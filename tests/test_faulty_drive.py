"""Every point at which Drive can fail: the last good state loads, and nothing is called saved that is not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import faulty_drive
import pytest
import syscalls

SCRIPT = Path(__file__).with_name("faulty_drive.py")


@pytest.mark.skipif(
    not syscalls.AVAILABLE, reason="processes can be traced on x86-64 Linux only, and where it is allowed"
)
@pytest.mark.parametrize("kind", faulty_drive.KINDS)
def test_every_point(kind: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), kind], capture_output=True, text=True, timeout=1200)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) points tried, 0 failed", done.stdout)
    assert found and int(found[1]) >= 2


@pytest.mark.skipif(
    not syscalls.AVAILABLE, reason="processes can be traced on x86-64 Linux only, and where it is allowed"
)
@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("write that loses half", "import fsd.runtime.spool.deliver as d; d._settled = lambda *_: ''"),
        ("empty after rename", "import fsd.runtime.files as f; f._comes_back = lambda *_: True"),
    ],
)
def test_the_faults_are_real(kind: str, broken: str) -> None:
    code = f"import sys; sys.path[:0] = [{str(SCRIPT.parent)!r}, {str(SCRIPT.parents[1])!r}]\n{broken}\n"
    code += f"import faulty_drive; sys.exit(bool(faulty_drive.main([{kind!r}])))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "called written" in done.stdout or "Drive alone" in done.stdout or "notes.json" in done.stdout
