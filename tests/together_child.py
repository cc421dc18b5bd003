"""One of several processes that train stage after stage together: together_child.py JOBS, a JSON list of jobs.

A job: folder, stage; stop_after: in which step the second process is told to stop; fsdp: whether the launcher had asked
for it. The first process prints a JSON line for each: {"result": ...} or {"error": ...}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from fsd.errors import FsdError
from fsd.families import FAMILIES
from fsd.train import lora, text_encoder, unet
from fsd.train.batch import Batches
from fsd.train.prepare import run_stage

BUILD = {"text_encoder": text_encoder.build, "unet": unet.build, "lora": lora.build}
_stop_after = 0
_at, _init = Batches.at, AcceleratorState.__init__


def at(self: Batches, step: int, device: torch.device) -> Any:
    if step == _stop_after - 1 and self.process == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return _at(self, step, device)


def init(self: AcceleratorState, *given: Any, **named: Any) -> None:
    """Accelerate takes FSDP for several GPUs alone, though PyTorch has it for CPUs too: here it is taken."""
    _init(self, *given, **named)
    if plugin := named.get("fsdp_plugin"):
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin
        PartialState._shared_state["distributed_type"] = self.distributed_type  # as Accelerate itself does then


def outcome(job: dict[str, Any]) -> dict[str, Any]:
    global _stop_after
    _stop_after = job.get("stop_after", 0)
    os.environ["ACCELERATE_USE_FSDP"] = str(job.get("fsdp", False)).lower()
    AcceleratorState._reset_state(reset_partial_state=True)  # as in a process of its own
    try:
        return {"result": run_stage([job["folder"]], job["stage"], BUILD[job["stage"]])}
    except FsdError as fault:
        return {"error": str(fault)}


if __name__ == "__main__":
    for name, family in FAMILIES.items():
        FAMILIES[name] = replace(family, allowed_px=(64, 2048), usual_px=(64, 2048))
    Batches.at, AcceleratorState.__init__ = at, init
    for job in json.loads(sys.argv[1]):
        found = outcome(job)
        if not int(os.environ["RANK"]):
            print(json.dumps(found), flush=True)
    torch.distributed.destroy_process_group()
