"""Run a module as main and kill this process (SIGKILL) at the N-th call of a function: kill_at.py WHERE N MODULE ARGS.

WHERE is "package.module:function" or "package.module:Class.method".
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
from typing import Any


def arm(where: str, call_number: int) -> None:
    module_name, _, path = where.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real, calls = getattr(owner, name), [0]

    def counted(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call_number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(owner, name, counted)


if __name__ == "__main__":
    where, number, module, *arguments = sys.argv[1:]
    arm(where, int(number))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")
