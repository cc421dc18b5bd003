"""A base model's Diffusers folder: whether it is whole, and what tells its weights from others."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

from fsd.errors import WeightsError
from fsd.weights.parts import read_json, weight_files

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
"""What a Stable Diffusion 1 or 2 is made of."""

WEIGHTS = ("unet", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "transformer")
"""The parts with weights, of all families."""

ALL_PARTS = (*WEIGHTS, "tokenizer", "tokenizer_2", "tokenizer_3", "scheduler")


def check_folder(folder: Path) -> Path:
    """`folder`, which holds every part that its model_index.json lists; WeightsError naming what is missing otherwise.

    A safety checker, its feature extractor and other things that nothing here needs may be missing.
    """
    return check_parts(folder, _needed(folder))


def check_parts(folder: Path, parts: Collection[str]) -> Path:
    """The same for some parts."""
    missing = [name for name in parts if not (folder / name).is_dir()]
    if not (folder / "model_index.json").is_file():
        missing.insert(0, "model_index.json")
    if missing:
        hint = "choose a folder saved by Diffusers' save_pretrained, with safetensors weights"
        raise WeightsError(f"{folder} is not a whole Diffusers model: no {', '.join(missing)}", hint)
    for part in parts:
        if part in WEIGHTS:
            read_json(folder / part / "config.json")
            if lost := [file.name for file in weight_files(folder / part) if not file.is_file()]:
                raise WeightsError(f"{folder / part} lacks {', '.join(lost)}", "download the model again")
    return folder


def _needed(folder: Path) -> tuple[str, ...]:
    """The parts that model_index.json lists with a class; those of Stable Diffusion 1 where it lists none."""
    index = read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    return tuple(name for name in ALL_PARTS if isinstance(index.get(name), list) and any(index[name])) or PARTS


def base_fingerprint(folder: Path) -> str:
    """SHA-256, in hexadecimal, that tells the weights below `folder` from others without reading gigabytes.

    Of every weight file of the parts that are there: its name, its size, and its bytes: all of them up to 64 MiB,
    otherwise the first and the last MiB and 64 KiB out of every 1/64 between. A change that misses all of these
    goes unnoticed; training, casting or merging changes every tensor and does not.
    """
    parts = [part for part in WEIGHTS if (folder / part).is_dir()]
    return _fingerprint((f"{part}/{file.name}", file) for part in parts for file in weight_files(folder / part))


def file_fingerprint(file: Path) -> str:
    """The same of one file, whatever it is called."""
    return _fingerprint([("", file)])


def _fingerprint(named: Iterable[tuple[str, Path]]) -> str:
    found = hashlib.sha256()
    for name, file in named:
        found.update(f"{name} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            for start, size in _samples(file.stat().st_size):
                stream.seek(start)
                found.update(stream.read(size))
    return found.hexdigest()


def _samples(size: int) -> list[tuple[int, int]]:
    """The (start, length) of the bytes that stand for a file of `size` bytes."""
    if size <= 64 << 20:
        return [(0, size)]
    return [(0, 1 << 20), *((size * piece // 64, 64 << 10) for piece in range(1, 64)), (size - (1 << 20), 1 << 20)]
