"""Any direction: Diffusers folder to one file, one file to Diffusers folder, .ckpt to .safetensors and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from fsd.errors import RecipeError, WeightsError
from fsd.weights.accounting import key_today
from fsd.weights.ckpt import save_ckpt, write_sidecar
from fsd.weights.detect import Detected, detect
from fsd.weights.folder import layout_of, write_folder
from fsd.weights.keys import get_layout, part_names
from fsd.weights.layouts import LAYOUTS
from fsd.weights.metadata import fingerprint
from fsd.weights.output import FRAMES, Converted, Tell, check_name, dtype_named, silent, write_file
from fsd.weights.parts import read_json, read_part
from fsd.weights.tensors import FLOATS, StoredTensor, Target
from fsd.weights.weight_file import read_weights


def convert(
    source: Path, destination: Path, dtype: str | None = None, like: Path | None = None, family: str = "",
    without: Collection[str] = (), prediction: str = "", metadata: Mapping[str, str] | None = None,
    tell: Tell = silent,
) -> Converted:  # fmt: skip
    """Convert a Diffusers folder to a file whose name ends in .safetensors or .ckpt, or a file to such a file or a folder.

    dtype: "fp16", "bf16" or "fp32"; None leaves each tensor as stored. like, family, prediction: as `write_folder` has
    them, for folders. without: the parts to leave out. metadata: added to what a file says of itself.
    The source stays as it is. RecipeError for wishes that do not fit, WeightsError for a source that does not.
    """
    if destination.resolve() == source.resolve():
        raise RecipeError(f"{source} would be its own destination", "choose another name")
    if source.is_dir():
        return _from_folder(source, destination, dtype, without, dict(metadata or {}), tell)
    if not source.is_file():
        raise WeightsError(f"there is no {source}", "check the path")
    if destination.suffix in FRAMES:
        return _refiled(source, destination, dtype, without, dict(metadata or {}), tell)
    if destination.suffix in (".pt", ".pth", ".bin", ".gguf"):
        check_name(destination)
    return write_folder(
        source, destination, like, family, dtype=dtype, without=without, prediction=prediction, tell=tell
    )


def source_bytes(source: Path) -> int:
    """About how many bytes a conversion reads: the file, or the weights of the folder's parts; 0 where it is neither."""
    if not source.is_dir():
        return source.stat().st_size if source.is_file() else 0
    names = {name for layout in LAYOUTS.values() for name in layout.names()}
    parts = [source / name for name in sorted(names) if (source / name / "config.json").is_file()]
    return sum(tensor.size_bytes for part in parts for tensor in read_part(part))


def _from_folder(
    source: Path, destination: Path, dtype: str | None, without: Collection[str], notes: dict[str, str], tell: Tell
) -> Converted:
    """One file from a folder; the parts that its model_index.json says it has not are left out."""
    check_name(destination)
    index, form = read_json(source / "model_index.json"), get_layout(layout_of(source))
    absent = {name for name in form.names()[1:] if not (index.get(name) or [None])[0]}
    names = [name for name in (*form.names(), "scheduler") if (source / name).is_dir()]
    parts = {name: source / name for name in names}
    notes = {"fsd.made_from": source.resolve().name} | notes
    return save_ckpt(parts, destination, dtype, notes, form.name, {*without, *absent}, tell)


def _refiled(
    source: Path, destination: Path, dtype: str | None, without: Collection[str], notes: dict[str, str], tell: Tell
) -> Converted:
    """The same tensors by the same keys in another file; what is not floating keeps its dtype."""
    kind = dtype_named(dtype)
    tensors, said = read_weights(source)
    found = detect(source)
    out = _keys_of(found, tensors, without)
    targets = [_same(tensor, kind) for key, tensor in tensors.items() if key not in out]
    said = {"format": "pt", **said, "fsd.made_from": source.name, "fsd.made_from_fingerprint": fingerprint([source])}
    write_file(destination, targets, said | notes, tell)
    beside = None
    if found.kind == "model" and found.layout and get_layout(found.layout).sidecar:
        beside = _sidecar(source, destination, found)
    return Converted(destination, destination.stat().st_size, len(targets), tuple(sorted(out)), beside)


def _same(tensor: StoredTensor, dtype: str | None) -> Target:
    wanted = dtype if dtype and tensor.dtype in FLOATS else tensor.dtype
    return Target(tensor.key, wanted, tensor.shape, (tensor,))


def _keys_of(found: Detected, keys: Collection[str], without: Collection[str]) -> set[str]:
    """The keys of the parts to leave out."""
    if not without:
        return set()
    if not found.layout:
        raise RecipeError(f"{', '.join(sorted(without))} cannot be left out: it is not known what this file is", "")
    form = get_layout(found.layout)
    kept = part_names(form, without)
    prefixes = tuple(part.prefix for part in form.parts if part.name not in kept)
    return {key for key in keys if key_today(form, key).startswith(prefixes)}


def _sidecar(source: Path, destination: Path, found: Detected) -> Path | None:
    """The source's own .yaml beside the new file, else one from the family's configurations, if that is known."""
    from fsd.families.configs import family_config
    from fsd.runtime.files import write_bytes

    beside = source.with_suffix(".yaml")
    if beside.is_file():
        write_bytes(destination.with_suffix(".yaml"), beside.read_bytes())
        return destination.with_suffix(".yaml")
    if not found.family or not found.prediction:
        return None
    configs = {name: family_config(found.family, name) for name in ("unet", "vae")}
    return write_sidecar(destination, configs, found.prediction)
