"""A DreamBooth training step of a full-size random SD 1.5 on this machine: fsd beside Diffusers' script and a bare loop.

    python tests/benchmarks/train_step.py [--diffusers-script PATH] [--python PYTHON] [--steps 8] [--repeat 3]
        [--work build/benchmarks]

UNet only, 128 px, fp32, batch 1, AdamW, the same weights, photos and machine. Each is a process of its own,
and they take turns; the table shows the median time of a step, two a process left out to warm up, and the peak memory.
The bare loop is forward, backward and fused AdamW on cached tensors and nothing else: the floor.
The script is examples/dreambooth/train_dreambooth.py of the Diffusers repository; PYTHON is an interpreter that has what
it needs (torchvision). Needs 20 GB of memory and 10 GB of disk; delete the folder afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
PX = 128

STAMP = """
import json, sys, time
stamps, result = [], sys.argv[1]
def stamp(): stamps.append(time.perf_counter())
def finish():
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    json.dump({"stamps": stamps, "peak_mb": int(peak) / 1000}, open(result, "w"))
"""

OURS = (
    STAMP
    + """
from fsd.train import batch, unet
from fsd.train.prepare import run_stage
real = batch.Batches.at
def at(self, step, device):
    stamp()
    return real(self, step, device)
batch.Batches.at = at
run_stage([sys.argv[2]], "unet", unet.build)
finish()
"""
)

BARE = (
    STAMP
    + """
import torch
from diffusers import UNet2DConditionModel
unet = UNet2DConditionModel.from_pretrained(sys.argv[2] + "/unet").train()
optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-6, fused=True)
x, t, text = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, 768)
for _ in range(int(sys.argv[3])):
    stamp()
    (unet(x, t, text).sample - x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
finish()
"""
)

SCRIPT = (
    STAMP
    + """
import runpy, atexit
import torch
real = torch.optim.AdamW.step
def step(self, *arguments, **named):
    stamp()
    return real(self, *arguments, **named)
torch.optim.AdamW.step = step
atexit.register(finish)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
)


def build(folder: Path) -> Path:
    """A whole random SD 1.5 pipeline in fp32, with the real tokenizer and noise schedule."""
    model = folder / "sd15"
    if (model / "model_index.json").exists():
        return model
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from fsd_tiny_base import model_folder
    from transformers import CLIPTextConfig, CLIPTextModel

    tiny = StableDiffusionPipeline.from_pretrained(model_folder())
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768,
        bos_token_id=49406, eos_token_id=49407, pad_token_id=49407,
    )  # fmt: skip
    StableDiffusionPipeline(
        AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **blocks),
        CLIPTextModel(text), tiny.tokenizer, UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        tiny.scheduler, None, None, requires_safety_checker=False,
    ).save_pretrained(model)  # fmt: skip
    return model


def make_session(work: Path, model: Path, steps: int) -> Path:
    """A session of four photos whose UNet stage takes `steps` steps."""
    from fsd.data.photos import add_photos
    from fsd.data.session import open_session
    from fsd.recipe import Recipe

    shutil.rmtree(work / "Fast-Dreambooth", ignore_errors=True)
    session = open_session(work, "bench", create=True)
    add_photos(session, str(ROOT / "fsd/data/demo_photos"))
    recipe = Recipe(family="tiny", base_model=str(model), class_word="box", resolution_px=PX)
    session.save_recipe(
        recipe.changed(text_encoder__steps=0, unet__steps=steps, samples__at_end=False, optimizer="adamw")
    )
    return session.folder


def measure(code: str, work: Path, arguments: list[str], python: str) -> tuple[list[float], float]:
    """(the seconds of each step after two, peak megabytes) of a process that runs `code`."""
    result = work / "result.json"
    result.unlink(missing_ok=True)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [python, "-c", code, str(result), *arguments], env=environment, capture_output=True, text=True
    )
    if not result.exists():
        sys.exit(f"a run failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}")
    found = json.loads(result.read_text())
    times = [after - before for before, after in zip(found["stamps"], found["stamps"][1:], strict=False)]
    return times[2:], found["peak_mb"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "build/benchmarks")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--diffusers-script", type=Path)
    parser.add_argument("--python", default=sys.executable)
    asked = parser.parse_args()
    model, steps = build(asked.work), str(asked.steps)
    photos = asked.work / "photos"
    photos.mkdir(exist_ok=True)
    for photo in (ROOT / "fsd/data/demo_photos").glob("*.jpg"):
        shutil.copy(photo, photos)
    runs = {"bare loop, fused AdamW": (BARE, [str(model), steps], sys.executable)}
    runs["fsd"] = (OURS, [str(asked.work / "Fast-Dreambooth/Sessions/bench")], sys.executable)
    if asked.diffusers_script:
        options = [
            f"--pretrained_model_name_or_path={model}", f"--instance_data_dir={photos}", "--instance_prompt=photo of sks box",
            f"--output_dir={asked.work / 'theirs'}", f"--resolution={PX}", "--train_batch_size=1", f"--max_train_steps={steps}",
            "--learning_rate=2e-6", "--lr_scheduler=linear", "--mixed_precision=no", "--checkpointing_steps=100000",
        ]  # fmt: skip
        runs["Diffusers' script"] = (SCRIPT, [str(asked.diffusers_script), *options], asked.python)
    times: dict[str, list[float]] = {name: [] for name in runs}
    peaks = dict.fromkeys(runs, 0.0)
    for turn in range(asked.repeat):
        make_session(asked.work, model, asked.steps)
        for name, (code, arguments, python) in runs.items():
            seconds, peak_mb = measure(code, asked.work, arguments, python)
            times[name] += seconds
            peaks[name] = max(peaks[name], peak_mb)
            print(f"turn {turn + 1}: {name}: {statistics.median(seconds):.2f} s a step, {peak_mb:.0f} MB", flush=True)
    print(f"{'':24}{'s a step':>10}{'peak MB':>10}{'time / fsd':>12}{'memory / fsd':>14}")
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        relative = seconds / medians["fsd"], peaks[name] / peaks["fsd"]
        print(f"{name:24}{seconds:10.2f}{peaks[name]:10.0f}{relative[0]:12.2f}{relative[1]:14.2f}")


if __name__ == "__main__":
    main()
