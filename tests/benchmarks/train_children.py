"""The processes that `train_step.py` times: each stamps the begin of every step, and the peak of its memory until then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fsd.runtime.process import child_environment

ROOT = Path(__file__).resolve().parents[2]

STAMP = """
import json, sys, time
stamps, peak, result = [], 0.0, sys.argv[1]
def stamp():
    global peak
    stamps.append(time.perf_counter())
    peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1000
def finish():
    json.dump({"stamps": stamps, "peak_mb": peak}, open(result, "w"))
"""

OURS = (
    STAMP
    + """
import importlib
from fsd.train import batch
from fsd.train.prepare import run_stage
real = batch.Batches.at
def at(self, step, device):
    stamp()
    return real(self, step, device)
batch.Batches.at = at
run_stage([sys.argv[2]], sys.argv[3], importlib.import_module("fsd.train." + sys.argv[3]).build)
finish()
"""
)
"""SESSION STAGE."""

BARE = (
    STAMP
    + """
import torch
from diffusers import UNet2DConditionModel
unet = UNet2DConditionModel.from_pretrained(sys.argv[2] + "/unet").train()
whole = sys.argv[4] == "whole"
def made(weights):
    return torch.optim.AdamW(weights, lr=2e-6, fused=True)
def stepper(optimizer):
    def step(_):
        optimizer.step()
        optimizer.zero_grad()
    return step
if whole:
    optimizer = made(unet.parameters())
else:
    for weight in unet.parameters():
        weight.register_post_accumulate_grad_hook(stepper(made([weight])))
x, t, text = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, unet.config.cross_attention_dim)
for _ in range(int(sys.argv[3])):
    stamp()
    (unet(x, t, text).sample - x).square().mean().backward()
    if whole:
        optimizer.step()
        optimizer.zero_grad()
finish()
"""
)
"""MODEL STEPS whole|backward: whether the optimizer steps after the backward pass or, weight by weight, during it."""

SCRIPT = (
    STAMP
    + """
import atexit, os, runpy
import torch
real = torch.optim.AdamW.step
def step(self, *arguments, **named):
    stamp()
    return real(self, *arguments, **named)
torch.optim.AdamW.step = step
atexit.register(finish)
sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
)
"""PATH OPTIONS..., of any script that steps a torch.optim.AdamW."""

KOHYA = SCRIPT.replace(
    "runpy.run",
    """
from library import original_unet
folder = next(option for option in sys.argv if option.startswith("--pretrained")).partition("=")[2]
widths = tuple(json.load(open(folder + "/unet/config.json"))["block_out_channels"])
original_unet.BLOCK_OUT_CHANNELS, original_unet.TIMESTEP_INPUT_DIM = widths, widths[0]
original_unet.TIME_EMBED_DIM = 4 * widths[0]
runpy.run""",
)
"""The same for kohya's scripts, whose UNet otherwise has the full width whatever the model's configuration says."""


def measure(code: str, work: Path, arguments: list[str], python: str) -> tuple[list[float], float]:
    """(the seconds of each step after two, peak megabytes until the last step) of a process that runs `code`."""
    result = work / "result.json"
    result.unlink(missing_ok=True)
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    if code == OURS:
        environment |= child_environment()
    command = [python, "-c", code, str(result), *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if not result.exists():  # what a script does after its last step is not of interest
        sys.exit(f"a run failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}")
    found = json.loads(result.read_text())
    times = [after - before for before, after in zip(found["stamps"], found["stamps"][1:], strict=False)]
    return times[2:], found["peak_mb"]


def planned_mb(recipe: dict[str, object], stage: str) -> float:
    """The peak that `fsd plan` foresees of training a stage on a CPU, in megabytes."""
    title = {"text_encoder": "train the text encoder", "unet": "train the UNet"}[stage]
    request = json.dumps({"device": "cpu", "recipes": [recipe], "room_bytes": 0})
    command = [sys.executable, "-m", "fsd.train.plan", request]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [phases] = json.loads(said.splitlines()[-1])["result"]["plans"]
    return next(phase["total_bytes"] for phase in phases if phase["name"] == title) / 1e6
