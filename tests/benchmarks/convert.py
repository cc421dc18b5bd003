"""Converting a full-size random SD 1.5: fsd beside a plain copy of the same bytes and Diffusers' own script.

    python tests/benchmarks/convert.py [--work build/benchmarks] [--repeat 3] [--diffusers-script PATH]
    python tests/benchmarks/convert.py --round-trip sd15 sd21 sdxl [--source-dtype fp16]

Each run is a process of its own; runs alternate, and the table shows medians. Needs 13 GB of disk once; delete the
folder afterwards. The script is scripts/convert_diffusers_to_original_stable_diffusion.py of the Diffusers repository,
which needs 4 GB of memory.

--round-trip: each family at full size with random weights, folder -> single file -> folder, compared tensor by tensor,
with wall time and peak memory of both ways (disk: three times the weights, for SDXL in fp32 42 GB).
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
sys.path.insert(0, str(ROOT))

from random_models import differences, random_model  # noqa: E402

SYNCED = 'cp -r "$0" "$1" && sync "$1"/*/*.safetensors'
OURS = """
import sys
from pathlib import Path
from fsd.weights.ckpt import save_ckpt
folder, destination, dtype = sys.argv[1:]
save_ckpt({part: Path(folder, part) for part in ("unet", "vae", "text_encoder")}, Path(destination), dtype or None)
"""


CONVERT = """
import sys
from pathlib import Path
from fsd.weights.convert import convert
source, destination, dtype, family = sys.argv[1:]
convert(Path(source), Path(destination), dtype or None, family=family)
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
    """Random SD 1.5 weights in Diffusers layout, fp32 and fp16."""
    random_model(folder / "fp32", "sd15", "F32")
    random_model(folder / "fp16", "sd15", "F16")


def build_apart(folder: Path, *more: str) -> Path:
    """`folder`, built by a process of its own: a child's peak memory is never below what its parent's was."""
    subprocess.run([sys.executable, __file__, "--build", str(folder), *more], check=True)
    return folder


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
    words = {"SOURCE": str(source), "TARGET": str(target)}
    figures = timed([words.get(word, word) for word in case.command], case.name, source)
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return figures


def timed(command: list[str], name: str, source: Path) -> Figures:
    """Wall and CPU seconds and peak memory of a command; `source` is read into the page cache before."""
    files = [source] if source.is_file() else source.glob("*/*.safetensors")
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
    os.sync()
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = child.stderr.read() if child.stderr else b""
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{name} failed:\n{errors.decode()[-2000:]}")
    return Figures(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def round_trip(family: str, dtype: str, work: Path) -> bool:
    """Whether a full-size random model of `family` comes back equal; prints time and memory of both ways."""
    folder = build_apart(work / f"{family}-{dtype}", family, {"fp16": "F16", "fp32": "F32"}[dtype])
    single, back = work / f"{family}-{dtype}.safetensors", work / f"{family}-{dtype}-back"
    shutil.rmtree(back, ignore_errors=True)
    run = [sys.executable, "-c", CONVERT]
    there = timed([*run, str(folder), str(single), "", ""], f"{family} there", folder)
    size = single.stat().st_size
    again = timed([*run, str(single), str(back), "", family], f"{family} back", single)
    wrong = differences(folder, back, family)
    for way, figures in (("to one file", there), ("to a folder", again)):
        seconds, cpu, peak = figures
        print(f"{family} {dtype} ({size / 1e9:.2f} GB) {way}: {seconds:.1f} s, CPU {cpu:.1f} s, peak {peak:.0f} MB")
    print(
        f"{family} {dtype}: {'equal tensor by tensor' if not wrong else f'{len(wrong)} differ: {wrong[:5]}'}",
        flush=True,
    )
    single.unlink()
    shutil.rmtree(back)
    return not wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="fsd's converter beside a plain copy and Diffusers' own script")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="folder for the weights")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each case")
    parser.add_argument("--diffusers-script", type=Path, help="convert_diffusers_to_original_stable_diffusion.py")
    families = ("sd15", "sd21", "sdxl")
    parser.add_argument(
        "--round-trip", nargs="+", choices=families, help="full size, there and back, instead of the table"
    )
    parser.add_argument("--source-dtype", choices=("fp16", "fp32"), default="fp16", help="weights of the round trip")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.round_trip:
        equal = [round_trip(family, chosen.source_dtype, chosen.work) for family in chosen.round_trip]
        raise SystemExit(0 if all(equal) else 1)
    need = 0 if (chosen.work / "sd15" / "fp16" / "done").exists() else 13e9
    if shutil.disk_usage(chosen.work).free < need:
        raise SystemExit(f"{chosen.work} needs {need / 1e9:.0f} GB free")
    build_apart(chosen.work / "sd15")
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
        build(Path(sys.argv[2])) if len(sys.argv) == 3 else random_model(Path(sys.argv[2]), *sys.argv[3:])
    else:
        main()
