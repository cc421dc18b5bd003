"""A DreamBooth training step of a random SD 1.5 on this machine: fsd beside Diffusers' script, kohya's, and a bare loop.

    python tests/benchmarks/train_step.py [--rows bare floor fsd ...] [--steps 8] [--repeat 3] [--size full]
        [--diffusers-script PATH/examples/dreambooth/train_dreambooth.py] [--diffusers-python PYTHON]
        [--kohya-script PATH/train_db.py] [--kohya-python PYTHON] [--work build/benchmarks]

128 px, fp32, batch 1, the same weights, photos and machine; latents are cached where a trainer can. Each row is a process
of its own, and they take turns; the table has the median seconds of a step, two a process left out to warm up, the peak
memory until the last step (what is saved afterwards is not in it), and for fsd what `fsd plan` foresees.
bare: forward, backward and fused AdamW on cached tensors and nothing else. floor: the same with each weight stepped
during the backward pass. fsd, fsd-8bit: the UNet stage. fsd-joint: stage 1 with text_encoder.unet="joint".
diffusers, diffusers-joint: UNet alone, and with --train_text_encoder. kohya: UNet alone, without gradient clipping.

All of it at full size, which takes 20 GB of memory, 30 GB of disk and about an hour of two quiet cores; PYTHON is an
interpreter that has what the script needs (torchvision), D and K are the scripts:

    python tests/benchmarks/train_step.py --diffusers-script D --diffusers-python PYTHON --kohya-script K --kohya-python PYTHON

The goals alone that need no other trainer, in a quarter of the time: --rows floor fsd fsd-8bit
That every path works, in a few minutes anywhere: --size narrow --steps 4 --repeat 1 (its ratios mean nothing).
Delete the folder of --work afterwards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "benchmarks")]

from train_children import BARE, KOHYA, OURS, SCRIPT, measure, planned_mb  # noqa: E402

PX = 128
SIZES: dict[str, dict[str, Any]] = {
    "full": {"vae": (128, 256, 512, 512), "unet": (320, 640, 1280, 1280), "text": 768, "layers": 12},
    "narrow": {"vae": (32, 32, 64, 64), "unet": (32, 64, 64, 64), "text": 64, "layers": 2},
}
FSD: dict[str, tuple[str, dict[str, Any]]] = {
    "fsd": ("unet", {}),
    "fsd-8bit": ("unet", {"optimizer": "adamw8bit"}),
    "fsd-joint": ("text_encoder", {"text_encoder.unet": "joint"}),
}
"""The stage and the settings of our rows."""
ROWS = ("bare", "floor", *FSD, "diffusers", "diffusers-joint", "kohya")
GOALS = (
    ("speed beside Diffusers, UNet", 0, "diffusers", "fsd", ">=", 2.2),
    ("speed beside Diffusers, joint", 0, "diffusers-joint", "fsd-joint", ">=", 2.0),
    ("speed beside kohya with its caches", 0, "kohya", "fsd", ">=", 1.0),
    ("time beside the fused floor", 0, "fsd", "floor", "<=", 1.03),
    ("memory beside Diffusers", 1, "fsd", "diffusers", "<=", 0.75),
    ("memory beside Diffusers, 8-bit AdamW", 1, "fsd-8bit", "diffusers", "<=", 0.45),
)
"""(what, 0 seconds or 1 memory, row, by row, which way, bound)."""


def build(folder: Path, size: str) -> Path:
    """A whole random pipeline of SD 1.5's shape in fp32, with the tiny base's tokenizer and noise schedule."""
    model, wide = folder / f"sd15-{size}", SIZES[size]
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
        hidden_size=wide["text"], intermediate_size=4 * wide["text"], num_attention_heads=wide["text"] // 64,
        num_hidden_layers=wide["layers"], projection_dim=wide["text"],
        bos_token_id=49406, eos_token_id=49407, pad_token_id=49407,
    )  # fmt: skip
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=wide["text"], block_out_channels=wide["unet"])
    StableDiffusionPipeline(
        AutoencoderKL(block_out_channels=wide["vae"], layers_per_block=2, **blocks), CLIPTextModel(text),
        tiny.tokenizer, unet, tiny.scheduler, None, None, requires_safety_checker=False,
    ).save_pretrained(model)  # fmt: skip
    return model


def make_session(work: Path, model: Path, row: str, steps: int) -> Path:
    """A session of the demo's photos whose one stage takes `steps` steps."""
    from fsd.data.photos import add_photos
    from fsd.data.session import open_session
    from fsd.recipe import Recipe

    shutil.rmtree(work / "Fast-Dreambooth", ignore_errors=True)
    session = open_session(work, row, create=True)
    add_photos(session, str(ROOT / "fsd/data/demo_photos"))
    stage, settings = FSD[row]
    chosen = {"text_encoder.steps": 0, "unet.steps": 0, "samples.at_end": False, "save.keep": 2, "optimizer": "adamw"}
    recipe = Recipe(family="tiny", base_model=str(model), class_word="box", resolution_px=PX, precision="fp32")
    session.save_recipe(recipe.changed(**chosen | settings | {f"{stage}.steps": steps}))
    return session.folder


def command(row: str, model: Path, asked: argparse.Namespace) -> tuple[str, list[str], str]:
    """(the code, its arguments, the interpreter) of a row's process."""
    work, steps = asked.work, str(asked.steps)
    if row in FSD:
        return OURS, [str(make_session(work, model, row, asked.steps)), FSD[row][0]], sys.executable
    if row in ("bare", "floor"):
        return BARE, [str(model), steps, "whole" if row == "bare" else "backward"], sys.executable
    options = [
        f"--pretrained_model_name_or_path={model}", f"--output_dir={work / 'theirs'}", f"--resolution={PX}",
        "--train_batch_size=1", f"--max_train_steps={steps}", "--learning_rate=2e-6", "--lr_scheduler=linear",
        "--mixed_precision=no",
    ]  # fmt: skip
    if row == "kohya":
        more = [
            f"--train_data_dir={photos(work / 'kohya', '1_sks box').parent}", "--optimizer_type=AdamW", "--cache_latents",
            "--stop_text_encoder_training=-1", "--max_data_loader_n_workers=0", "--max_grad_norm=0",
            f"--tokenizer_cache_dir={tokenizers(work / 'tokenizers', model)}", "--save_model_as=safetensors",
        ]  # fmt: skip
        return KOHYA, [str(asked.kohya_script), *options, *more], asked.kohya_python
    more = [f"--instance_data_dir={photos(work, 'photos')}", "--instance_prompt=photo of sks box"]
    more += ["--checkpointing_steps=100000", *["--train_text_encoder"] * (row == "diffusers-joint")]
    return SCRIPT, [str(asked.diffusers_script), *options, *more], asked.diffusers_python


def photos(folder: Path, name: str) -> Path:
    """A folder with the demo's photos."""
    return Path(shutil.copytree(ROOT / "fsd/data/demo_photos", folder / name, dirs_exist_ok=True))


def tokenizers(folder: Path, model: Path) -> Path:
    """Where kohya's scripts look for CLIP's tokenizer before they download it, in the files of older versions."""
    place = folder / "openai_clip-vit-large-patch14"
    place.mkdir(parents=True, exist_ok=True)
    found = json.loads((model / "tokenizer/tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in found["merges"]]
    (place / "vocab.json").write_text(json.dumps(found["vocab"]), encoding="utf-8")
    (place / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    (place / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77}), encoding="utf-8")
    return folder


def told(found: dict[str, tuple[float, float]], plans: dict[str, float]) -> str:
    """The table, and every goal that two measured rows decide."""
    lines = [f"{'':18}{'s a step':>10}{'peak MB':>10}{'planned':>10}{'planned / peak':>16}"]
    for row, (seconds, peak_mb) in found.items():
        plan = f"{plans[row]:10.0f}{plans[row] / peak_mb:16.2f}" if row in plans else ""
        lines.append(f"{row:18}{seconds:10.2f}{peak_mb:10.0f}{plan}")
    for what, which, row, by, way, bound in GOALS:
        if row in found and by in found:
            ratio = found[row][which] / found[by][which]
            met = ratio >= bound if way == ">=" else ratio <= bound
            lines.append(f"{what}: {ratio:.2f}, wanted {way} {bound}: {'met' if met else 'MISSED'}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--work", type=Path, default=ROOT / "build/benchmarks")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    for trainer in ("diffusers", "kohya"):
        parser.add_argument(f"--{trainer}-script", type=Path)
        parser.add_argument(f"--{trainer}-python", default=sys.executable)
    asked = parser.parse_args()
    asked.work = asked.work.absolute()
    theirs = {"diffusers": asked.diffusers_script, "kohya": asked.kohya_script}
    rows = [row for row in asked.rows if theirs.get(row.partition("-")[0], "ours")]
    model = build(asked.work, asked.size)
    times: dict[str, list[float]] = {row: [] for row in rows}
    peaks = dict.fromkeys(rows, 0.0)
    for turn in range(asked.repeat):
        for row in rows:
            code, arguments, python = command(row, model, asked)
            seconds, peak_mb = measure(code, asked.work, arguments, python)
            times[row] += seconds
            peaks[row] = max(peaks[row], peak_mb)
            print(f"turn {turn + 1}: {row}: {statistics.median(seconds):.2f} s a step, {peak_mb:.0f} MB", flush=True)
    plans = {row: planned(row) for row in rows if row in FSD and asked.size == "full"}
    print(told({row: (statistics.median(times[row]), peaks[row]) for row in rows}, plans))


def planned(row: str) -> float:
    """What `fsd plan` foresees of one of our rows, in megabytes: of the family whose shapes the model has."""
    from fsd.recipe import Recipe

    stage, settings = FSD[row]
    recipe = Recipe(family="sd15", resolution_px=PX, precision="fp32", optimizer="adamw", force=True)
    return planned_mb(recipe.changed(**settings).to_json(), stage)


if __name__ == "__main__":
    main()
