"""Converting a full-size random SD 1.5: fsd beside a plain copy of the same bytes and Diffusers' own script.

    python tests/benchmarks/convert.py [--work build/benchmarks] [--repeat 3] [--diffusers-script PATH]

Each run is a process of its own; runs alternate, and the table shows medians. Needs 4 GB of memory and 13 GB of disk
once; delete the folder afterwards. The script is scripts/convert_diffusers_to_original_stable_diffusion.py of the
Diffusers repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SYNCED = 'cp -r "$0" "$1" && sync "$1"/*/*.safetensors'
OURS = """
import sys
from pathlib import Path
from fsd.weights.ckpt import save_ckpt
folder, destination, dtype = sys.argv[1:]
save_ckpt({part: Path(folder, part) for part in ("unet", "vae", "text_encoder")}, Path(destination), dtype or None)
"""


class Case(NamedTuple):
    """One line of the table. source: "fp16" or "fp32"; command: arguments, with SOURCE and TARGET filled in."""

    name: str
    source: str
    suffix: str
    command: list[str]


class Figures(NamedTuple):
    wall_s: float
    cpu_s: float
    peak_mb: float


def build(folder: Path) -> None:
    """Random SD 1.5 weights in Diffusers layout: fp32 and, cast from it, fp16; one part in memory at a time."""
    if (folder / "done").exists():
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    makers = {
        "unet": lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        "vae": lambda: AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **blocks),
        "text_encoder": lambda: CLIPTextModel(
            CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768)
        ),
    }
    for name, make in makers.items():
        with torch.device("meta"):
            part = make()
        part = part.to_empty(device="cpu")
        for value in part.parameters():
            value.data.uniform_(-0.05, 0.05)
        part.save_pretrained(folder / "fp32" / name)
        part.half().save_pretrained(folder / "fp16" / name)
    (folder / "done").touch()


def cases(script: Path | None) -> list[Case]:
    """What is measured: the copy, ours, and Diffusers' script where its path is given."""
    python = sys.executable
    ours = [python, "-c", OURS, "SOURCE", "TARGET"]
    found = [
        Case("plain copy, fp16", "fp16", "", ["cp", "-r", "SOURCE", "TARGET"]),
        Case("plain copy and sync, fp16", "fp16", "", ["sh", "-c", SYNCED, "SOURCE", "TARGET"]),
        Case("fsd, fp16 -> .safetensors", "fp16", ".safetensors", [*ours, ""]),
        Case("fsd, fp16 -> .ckpt", "fp16", ".ckpt", [*ours, ""]),
        Case("plain copy, fp32", "fp32", "", ["cp", "-r", "SOURCE", "TARGET"]),
        Case("plain copy and sync, fp32", "fp32", "", ["sh", "-c", SYNCED, "SOURCE", "TARGET"]),
        Case("fsd, fp32 -> fp16 .safetensors", "fp32", ".safetensors", [*ours, "fp16"]),
        Case("fsd, fp32 -> fp16 .ckpt", "fp32", ".ckpt", [*ours, "fp16"]),
    ]
    if script is None:
        print("Diffusers' script: skipped (give --diffusers-script PATH)")
        return found
    theirs = [python, str(script), "--model_path", "SOURCE", "--checkpoint_path", "TARGET", "--half"]
    return [
        *found,
        Case("Diffusers' script, fp16 -> .safetensors", "fp16", ".safetensors", [*theirs, "--use_safetensors"]),
        Case("Diffusers' script, fp16 -> .ckpt", "fp16", ".ckpt", theirs),
        Case("Diffusers' script, fp32 -> fp16 .safetensors", "fp32", ".safetensors", [*theirs, "--use_safetensors"]),
    ]


def measure(case: Case, work: Path) -> Figures:
    """One run of a case in a process of its own; the source is in the page cache and earlier writes are on the disk.

    The peak holds this process's own few megabytes too, which a child starts from.
    """
    source, target = work / "sd15" / case.source, work / f"target{case.suffix}"
    subprocess.run(["cat", *source.glob("*/*.safetensors")], stdout=subprocess.DEVNULL, check=True)
    os.sync()
    words = {"SOURCE": str(source), "TARGET": str(target)}
    command = [words.get(word, word) for word in case.command]
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = child.stderr.read() if child.stderr else b""
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{case.name} failed:\n{errors.decode()[-2000:]}")
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return Figures(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description="fsd's converter beside a plain copy and Diffusers' own script")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="folder for the weights")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each case")
    parser.add_argument("--diffusers-script", type=Path, help="convert_diffusers_to_original_stable_diffusion.py")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    need = 0 if (chosen.work / "sd15" / "done").exists() else 13e9
    if shutil.disk_usage(chosen.work).free < need:
        raise SystemExit(f"{chosen.work} needs {need / 1e9:.0f} GB free")
    subprocess.run([sys.executable, __file__, "--build", str(chosen.work / "sd15")], check=True)
    table = cases(chosen.diffusers_script)
    runs: dict[str, list[Figures]] = {case.name: [] for case in table}
    for _ in range(chosen.repeat):
        for case in table:
            runs[case.name].append(measure(case, chosen.work))
    show(table, runs)


def show(table: list[Case], runs: dict[str, list[Figures]]) -> None:
    """Print medians, and each wall time as a multiple of the copies of the same source.

    fsd reads back and syncs what it writes; the plain copy and Diffusers' script leave it in memory.
    """
    medians = {name: Figures(*map(statistics.median, zip(*found, strict=True))) for name, found in runs.items()}
    print(f"\n{'':46}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'x copy':>8}{'x synced':>9}   all wall times")
    for case in table:
        wall, cpu, peak = medians[case.name]
        times = " ".join(f"{found.wall_s:.1f}" for found in runs[case.name])
        copy, synced = (wall / medians[f"plain copy{how}, {case.source}"].wall_s for how in ("", " and sync"))
        print(f"{case.name:46}{wall:8.2f}{cpu:8.2f}{peak:9.0f}{copy:8.2f}{synced:9.2f}   {times}")
    print(json.dumps({name: found._asdict() for name, found in medians.items()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        build(Path(sys.argv[2]))
    else:
        main()
