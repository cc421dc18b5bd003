"""Every family's true key list, in files of holes of the true size: recognised, quickly, and in little memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from sparse import sparse_file, write_values

from fsd.families import FAMILIES
from fsd.families.configs import family_config
from fsd.weights.detect import detect
from fsd.weights.keys import entries, get_layout
from fsd.weights.weight_file import read_weights

MEASURE = """
import json, sys, time
from pathlib import Path
from fsd.weights.detect import detect
seconds = []
for _ in range(3):
    begun = time.process_time()
    found = detect(Path(sys.argv[1]))
    seconds.append(time.process_time() - begun)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"family": found.family, "seconds": min(seconds), "peak_mb": int(peak.split()[1]) / 1000}))
"""
NORM = "output_blocks.11.1.transformer_blocks.0.norm1.bias"


def key_list(family: str) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a family's single file."""
    layout = get_layout(FAMILIES[family].layout)
    configs = {part.name: family_config(family, part.name) for part in layout.parts}
    return {entry.key: entry.shape for entry in entries(layout, configs)}


def widen_norm(path: Path) -> None:
    """Give an SD 2 file the norm of a model with v."""
    norm = next(tensor for key, tensor in read_weights(path)[0].items() if key.endswith(NORM))
    write_values(path, norm.offset, struct.pack("<320e", *[0.25, -0.25] * 160))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_size_file_of_every_family_is_recognised(tmp_path: Path, family: str) -> None:
    record = FAMILIES[family]
    path = sparse_file(tmp_path / f"{family}.safetensors", key_list(family))
    if record.layout == "sd2" and record.prediction == "v_prediction":
        widen_norm(path)
    found = detect(path)
    assert (found.kind, found.family, found.layout) == ("model", family, record.layout)
    assert (found.prediction, found.inpainting, found.form) == (record.prediction, record.inpainting, "single-file")
    assert set(found.parts) == set(get_layout(record.layout).names())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_size_part_in_diffusers_names_is_recognised(tmp_path: Path, family: str) -> None:
    backbone = get_layout(FAMILIES[family].layout).backbone
    outline = backbone.outline(family_config(family, backbone.name))
    found = detect(sparse_file(tmp_path / f"{family}.safetensors", outline))
    assert (found.kind, found.layout, found.form) == ("model", FAMILIES[family].layout, "diffusers")
    assert found.family == {"sd21": "sd21-base"}.get(family, family)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_seven_gigabytes_are_recognised_in_a_fifth_of_a_second_and_100_mb(tmp_path: Path, suffix: str) -> None:
    path = sparse_file(tmp_path / f"model{suffix}", key_list("sdxl"))
    assert path.stat().st_size > 6.9e9
    ended = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert found["family"] == "sdxl"
    assert found["peak_mb"] < 100, found
    assert found["seconds"] < 0.2, found
