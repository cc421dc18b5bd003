"""Whether what was installed works: each package is imported in a child process, and what came is said in a table.

python -m fsd.runtime.packages.validate MODULE[:ATTRIBUTE] ...      (the child: one JSON line for each)
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fsd.runtime import lean, machine
from fsd.runtime.packages import overlay
from fsd.runtime.process import STOP_WITH_PARENT, child_environment

_LIMIT_S = 600.0
_CUDA = "cuda"


@dataclass(frozen=True)
class Imported:
    """What importing a module gave. error: "" if it works, else its last line."""

    module: str
    error: str
    seconds: float = 0.0
    cuda: str = ""


def try_imports(modules: Sequence[str]) -> dict[str, Imported]:
    """Import each module in a child that sees what the stages see; one that kills the child is named, the rest go on."""
    done: dict[str, Imported] = {}
    while left := [module for module in modules if module not in done]:
        answers, status = _child(left)
        done |= {answer.module: answer for answer in answers}
        if len(answers) < len(left):
            module = left[len(answers)]
            done[module] = Imported(module, f"importing it ends Python ({status})")
    return done


def _child(modules: Sequence[str]) -> tuple[list[Imported], str]:
    """The answers of one child, and how it ended."""
    environment = child_environment()
    paths = [environment["PYTHONPATH"].split(os.pathsep)[0], *overlay.child_paths(), environment["PYTHONPATH"]]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "fsd.runtime.packages.validate", *modules]
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=STOP_WITH_PARENT,
        )  # fmt: skip
        try:
            status = f"exit code {child.wait(_LIMIT_S)}"
        except subprocess.TimeoutExpired:
            status = f"not done after {_LIMIT_S:.0f} s"
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        said.seek(0)
        lines = [line.removeprefix("fsd ") for line in said if line.startswith("fsd {")]
    return [Imported(**json.loads(line)) for line in lines], status


def _answer(asked: str) -> dict[str, Any]:
    module, _, attribute = asked.partition(":")
    started, error, cuda = time.monotonic(), "", ""
    try:
        loaded = importlib.import_module(module)
        if attribute:
            getattr(loaded, attribute)
        if module == "torch":
            cuda, error = _cuda_of(loaded)
    except BaseException as fault:  # some packages exit when they do not like the machine
        error = f"{type(fault).__name__}: {str(fault).strip().splitlines()[-1] if str(fault).strip() else ''}"
    return {"module": asked, "error": error, "seconds": round(time.monotonic() - started, 2), "cuda": cuda}


def _cuda_of(torch: Any) -> tuple[str, str]:
    """What torch says of CUDA, and what is wrong with it on a machine with a GPU."""
    built = torch.version.cuda or getattr(torch.version, "hip", None)
    gpu = machine.gpu()
    if not gpu:
        return f"built for CUDA {built}, no GPU here" if built else "built for a CPU", ""
    if not built:
        return "built for a CPU", f"the GPU {gpu} is not used: this torch is built for a CPU"
    if not torch.cuda.is_available():
        return f"CUDA {built}", f"torch's CUDA {built} does not work with the driver of {gpu}"
    try:
        torch.zeros(8, device=_CUDA).add_(1).sum().item()
    except Exception as fault:
        return f"CUDA {built}", f"the GPU {gpu} cannot run this torch: {str(fault).splitlines()[0]}"
    return f"CUDA {built} on {torch.cuda.get_device_name()}", ""


if __name__ == "__main__":
    lean.begin(__name__)
    for name in sys.argv[1:]:
        print(f"\nfsd {json.dumps(_answer(name))}", flush=True)  # on a line of its own, whatever a package prints
