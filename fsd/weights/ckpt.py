"""One file from a Diffusers folder, and a Diffusers folder from one file: streamed, accounted for, read back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from fsd.errors import MachineError, RecipeError, WeightsError
from fsd.runtime.files import replacing, sha256
from fsd.weights import ckpt_index
from fsd.weights.ckpt_zip import CkptFrame
from fsd.weights.keys import Entry, entries, file_tensors, get_layout, part_tensors
from fsd.weights.layouts import Layout
from fsd.weights.parts import read_config, read_json, read_part
from fsd.weights.stream import write_tensors
from fsd.weights.tensors import DTYPE_BYTES, SafetensorsFrame, Shape, StoredTensor, Target, read_header

DTYPES = {"fp16": "F16", "fp32": "F32"}
FRAMES: dict[str, Any] = {".safetensors": SafetensorsFrame, ".ckpt": CkptFrame}
SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class CkptReport:
    """A finished file: its size, the number of its tensors, and the source tensors that were left out."""

    path: Path
    size_bytes: int
    tensors: int
    left_out: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file, by which web UIs and model sites know it; reads all of it when first asked for."""
        return sha256(self.path)


def save_ckpt(
    parts: Mapping[str, Path],
    destination: Path,
    dtype: str | None = "fp16",
    metadata: Mapping[str, str] | None = None,
    layout: str = "sd1",
) -> CkptReport:
    """Write the parts of a Diffusers folder as one `.safetensors` or `.ckpt`, as the name of `destination` ends.

    parts: folders by name; "unet", "vae" and "text_encoder" are needed, "scheduler" tells the prediction type.
    dtype: of all tensors; None leaves each as stored. metadata: added to the modelspec fields, or in their place.
    `destination` is only replaced once the new file has been read back. RecipeError for a bad name or dtype,
    MachineError when the disk is full, WeightsError naming the file or the tensors otherwise.
    """
    destination = Path(destination)
    frame_of = FRAMES.get(destination.suffix)
    if frame_of is None:
        raise RecipeError(
            f"{destination.name} is neither a .safetensors nor a .ckpt", "let the name end in one of them"
        )
    if dtype is not None and dtype not in DTYPES:
        raise RecipeError(f"dtype is {dtype!r}", f"choose one of: {', '.join(DTYPES)}, or leave it as stored")
    form = get_layout(layout)
    targets, left_out = _targets(form, parts, DTYPES.get(dtype or ""))
    notes = modelspec(form, parts, destination.stem) | dict(metadata or {})
    _write(destination, frame_of(targets, notes), targets)
    return CkptReport(destination, destination.stat().st_size, len(targets), left_out)


def modelspec(layout: Layout, parts: Mapping[str, Path], title: str) -> dict[str, str]:
    """The metadata fields of a single file (github.com/Stability-AI/ModelSpec), with "format" for its readers."""
    scheduler = parts["scheduler"] / "scheduler_config.json" if "scheduler" in parts else None
    prediction = read_json(scheduler).get("prediction_type") if scheduler else None
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": layout.architecture,
        "modelspec.implementation": "https://github.com/CompVis/stable-diffusion",
        "modelspec.title": title,
        "modelspec.date": _saved_at(parts).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "modelspec.prediction_type": "v" if prediction == "v_prediction" else "epsilon",
    }


def _saved_at(parts: Mapping[str, Path]) -> datetime:
    """When the newest of the parts' weights was saved, so that the same model gives the same file."""
    seconds = max(file.stat().st_mtime for part in parts.values() for file in part.glob("*.safetensors"))
    return datetime.fromtimestamp(seconds, UTC)


def read_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a `.safetensors` or `.ckpt` by key; nothing is executed, no values are read."""
    return ckpt_index.read_index(path) if path.suffix == ".ckpt" else read_header(path)[0]


def ckpt_to_folder(source: Path, like: Path, destination: Path, layout: str = "sd1") -> Path:
    """Turn one file into a Diffusers folder and return it; the way back of `save_ckpt`, dtypes as stored.

    like: a Diffusers folder of the same architecture; its configurations, tokenizer and scheduler are copied.
    destination must not exist yet.
    """
    form = get_layout(layout)
    if destination.exists():
        raise WeightsError(f"{destination} already exists", "choose another folder or delete this one")
    configs = {part.name: read_config(like / part.name) for part in form.parts}
    plan = entries(form, configs)
    tensors, _ = file_tensors(form, {entry.key: entry.shape for entry in plan}, read_file(source).values(), str(source))
    with _writing(destination):
        partial = destination.with_name(f".{destination.name}.partial-folder")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(like, partial, ignore=shutil.ignore_patterns("*.safetensors", "*.index*.json", "*.bin", ".*"))
        for part in form.parts:
            targets = _widest_first([
                Target(name, stored.dtype, shape, (stored,))
                for entry in plan if entry.part == part.name
                for name, shape, stored in _split(entry, tensors[entry.key])
            ])  # fmt: skip
            stem = "model" if part.name.startswith("text_encoder") else "diffusion_pytorch_model"
            _write(partial / part.name / f"{stem}.safetensors", SafetensorsFrame(targets, {"format": "pt"}), targets)
        partial.rename(destination)
    return destination


def _split(entry: Entry, stored: StoredTensor) -> list[tuple[str, Shape, StoredTensor]]:
    """The (name, shape, place) of the tensors that were joined into one: rows of it, in order."""
    found, at = [], stored.offset
    for name, shape in entry.sources:
        size = Target(name, stored.dtype, shape, ()).size_bytes
        found.append((name, shape, replace(stored, offset=at, size_bytes=size)))
        at += size
    return found


def _targets(layout: Layout, parts: Mapping[str, Path], dtype: str | None) -> tuple[list[Target], tuple[str, ...]]:
    """(what to write, what is left out) from the parts' configurations and weight headers."""
    if missing := [part.name for part in layout.parts if part.name not in parts]:
        raise WeightsError(f"there is no {' and no '.join(missing)} to save", "point to a whole Diffusers folder")
    plan = entries(layout, {part.name: read_config(parts[part.name]) for part in layout.parts})
    found: dict[tuple[str, str], StoredTensor] = {}
    left_out: list[str] = []
    for part in layout.parts:
        expected = {name: shape for entry in plan if entry.part == part.name for name, shape in entry.sources}
        tensors, unused = part_tensors(part, expected, read_part(parts[part.name]), str(parts[part.name]))
        found |= {(part.name, name): tensor for name, tensor in tensors.items()}
        left_out += [f"{part.name}: {name}" for name in unused]
    targets = []
    for entry in plan:
        sources = tuple(found[entry.part, name] for name, _ in entry.sources)
        widest = max((source.dtype for source in sources), key=lambda name: DTYPE_BYTES[name])
        targets.append(Target(entry.key, dtype or widest, entry.shape, sources))
    return _widest_first(targets), tuple(left_out)


def _widest_first(targets: Sequence[Target]) -> list[Target]:
    return sorted(targets, key=lambda target: -DTYPE_BYTES[target.dtype])


def _write(destination: Path, frame: Any, targets: Sequence[Target]) -> None:
    """Write a file that gets its name once it is whole and read back; MachineError when the disk cannot take it."""
    with _writing(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        free, need = (
            shutil.disk_usage(destination.parent).free,
            frame.offsets[-1] + targets[-1].size_bytes + SPARE_BYTES,
        )
        if free < need:
            what = f"{destination} needs {need / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free"
            raise MachineError(what, "make room there")
        with replacing(destination) as temporary:
            write_tensors(temporary, frame, targets)
            _check(temporary, destination, targets)


@contextmanager
def _writing(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        what = f"{destination} could not be written: {fault.strerror or fault}"
        raise MachineError(what, "check the disk and the path") from None


def _check(written: Path, destination: Path, targets: Sequence[Target]) -> None:
    """WeightsError unless the file, opened anew, holds exactly `targets`; their values were compared while written."""
    tensors = ckpt_index.read_index(written) if destination.suffix == ".ckpt" else read_header(written)[0]
    found = {key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()}
    meant = {target.key: (target.dtype, target.shape) for target in targets}
    if found != meant:
        wrong = sorted(key for key in found.keys() | meant.keys() if found.get(key) != meant.get(key))
        raise WeightsError(f"{destination} was not written as it was meant: {', '.join(wrong[:5])}", "report this")
