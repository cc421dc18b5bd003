"""Diffusers folders of the real size with random weights, made from the families' configurations without torch."""

from __future__ import annotations

import json
from pathlib import Path

from fsd.families import get_family
from fsd.families.configs import family_config
from fsd.weights.keys import get_layout
from fsd.weights.parts import read_part
from fsd.weights.tensors import SafetensorsFrame, StoredTensor, Target

CHUNK = 1 << 20
DTYPES = {"F16": "<f2", "F32": "<f4"}


def random_model(folder: Path, family: str, dtype: str) -> Path:
    """`folder`, with every weight part of `family` in `dtype` ("F16" or "F32"); made once, a few megabytes at a time."""
    if (folder / "done").exists():
        return folder
    import numpy as np

    layout, random = get_layout(get_family(family).layout), np.random.default_rng(0)
    for part in layout.parts:
        config = family_config(family, part.name)
        targets = [Target(name, dtype, shape, ()) for name, shape in part.outline(config).items()]
        (folder / part.name).mkdir(parents=True, exist_ok=True)
        (folder / part.name / "config.json").write_text(json.dumps(config))
        stem = "model" if part.name.startswith("text_encoder") else "diffusion_pytorch_model"
        with (folder / part.name / f"{stem}.safetensors").open("wb") as file:
            file.write(SafetensorsFrame(targets, {"format": "pt"}).head)
            left = sum(target.size_bytes for target in targets) // np.dtype(DTYPES[dtype]).itemsize
            while left:
                values = random.standard_normal(min(CHUNK, left), np.float32) * 0.05
                file.write(values.astype(DTYPES[dtype]).tobytes())
                left -= len(values)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(family_config(family, "scheduler")))
    (folder / "model_index.json").write_text(json.dumps(family_config(family, "model_index")))
    (folder / "done").touch()
    return folder


def differences(one: Path, two: Path, family: str) -> list[str]:
    """The tensors that two folders of a family do not hold alike, by part and name."""
    found = []
    for part in get_layout(get_family(family).layout).names():
        ours, theirs = ({tensor.key: tensor for tensor in read_part(folder / part)} for folder in (one, two))
        for name in sorted(ours.keys() | theirs.keys()):
            if name not in ours or name not in theirs or not _same(ours[name], theirs[name]):
                found.append(f"{part}: {name}")
    return found


def _same(one: StoredTensor, two: StoredTensor) -> bool:
    if (one.dtype, one.shape, one.size_bytes) != (two.dtype, two.shape, two.size_bytes):
        return False
    with one.file.open("rb") as first, two.file.open("rb") as second:
        first.seek(one.offset)
        second.seek(two.offset)
        return all(
            first.read(size) == second.read(size)
            for size in (min(CHUNK, one.size_bytes - at) for at in range(0, one.size_bytes, CHUNK))
        )
