"""One file from a Diffusers folder: streamed, accounted for, read back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from fsd.errors import WeightsError
from fsd.runtime.files import write_text
from fsd.weights.accounting import part_tensors
from fsd.weights.keys import Entry, entries, get_layout, part_names, repeated
from fsd.weights.layouts import Layout
from fsd.weights.metadata import modelspec, sidecar
from fsd.weights.outlines import Config
from fsd.weights.output import Converted, Tell, check_name, disk_faults, dtype_named, silent, widest, write_file
from fsd.weights.parts import read_config, read_json, read_part
from fsd.weights.tensors import StoredTensor, Target, rows_of
from fsd.weights.weight_file import read_weights


def save_ckpt(
    parts: Mapping[str, Path],
    destination: Path,
    dtype: str | None = "fp16",
    metadata: Mapping[str, str] | None = None,
    layout: str = "sd1",
    without: Collection[str] = (),
    tell: Tell = silent,
) -> Converted:
    """Write the parts of a Diffusers folder as one `.safetensors` or `.ckpt`, as the name of `destination` ends.

    parts: folders by name; all that the layout has are needed but those `without`; "scheduler" tells the prediction
    type. dtype: of all tensors; None leaves each as stored. metadata: added to the modelspec fields, or in their place.
    `destination` is only replaced once the new file has been read back. RecipeError for a bad name or dtype,
    MachineError when the disk is full, WeightsError naming the file or the tensors otherwise.
    """
    destination, form = Path(destination), get_layout(layout)
    check_name(destination)
    kind = dtype_named(dtype)
    names = part_names(form, without)
    if missing := [name for name in names if name not in parts]:
        raise WeightsError(f"there is no {' and no '.join(missing)} to save", "point to a whole Diffusers folder")
    configs = {name: read_config(parts[name]) for name in names}
    plan = entries(form, configs)
    found, left_out = _stored(form, configs, plan, parts)
    prediction, marked = _prediction(form, parts)
    targets = [_target(entry, found, kind) for entry in (*plan, *repeated(form, plan))]
    targets += [Target(key, kind or targets[0].dtype, (0,), ()) for key in marked]
    notes = modelspec(form, configs, prediction, destination.stem, {tensor.file for tensor in found.values()})
    write_file(destination, targets, notes | dict(metadata or {}), tell)
    beside = write_sidecar(destination, configs, prediction) if form.sidecar else None
    return Converted(destination, destination.stat().st_size, len(targets), left_out, beside)


def write_sidecar(destination: Path, configs: Mapping[str, Config], prediction: str) -> Path:
    """The .yaml beside a file that is already there."""
    path = destination.with_suffix(".yaml")
    with disk_faults(path):
        write_text(path, sidecar(configs, prediction))
    return path


def read_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a `.safetensors` or `.ckpt` by key; nothing is executed, no values are read."""
    return read_weights(path)[0]


def _prediction(layout: Layout, parts: Mapping[str, Path]) -> tuple[str, tuple[str, ...]]:
    """(what the network predicts, the keys that mark it), from the scheduler or as the layout's models mostly do."""
    scheduler = read_json(parts["scheduler"] / "scheduler_config.json") if "scheduler" in parts else {}
    prediction = scheduler.get("prediction_type", layout.predictions[0])
    if prediction not in layout.predictions:
        prediction = layout.predictions[0]
    marked = dict(layout.markers).get(prediction, ())
    return prediction, (*marked, "ztsnr") if marked and scheduler.get("rescale_betas_zero_snr") else marked


def _stored(
    layout: Layout, configs: Mapping[str, Config], plan: list[Entry], parts: Mapping[str, Path]
) -> tuple[dict[tuple[str, str], StoredTensor], tuple[str, ...]]:
    """(the folder's tensors by part and name, what is left out)."""
    found: dict[tuple[str, str], StoredTensor] = {}
    left_out: list[str] = []
    for part in layout.parts:
        if part.name in configs:
            expected = {piece.name: piece.shape for entry in plan if entry.part == part.name for piece in entry.pieces}
            folder = parts[part.name]
            tensors, unused = part_tensors(part, configs[part.name], expected, read_part(folder), str(folder))
            found |= {(part.name, name): tensor for name, tensor in tensors.items()}
            left_out += [f"{part.name}: {name}" for name in unused]
    return found, tuple(left_out)


def _target(entry: Entry, found: Mapping[tuple[str, str], StoredTensor], dtype: str | None) -> Target:
    sources = tuple(rows_of(found[entry.part, piece.name], piece.start, piece.rows) for piece in entry.pieces)
    return Target(entry.key, dtype or widest(sources), entry.shape, sources, entry.transposed)
