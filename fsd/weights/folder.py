"""A Diffusers folder from one file: streamed, accounted for, read back."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsd.errors import WeightsError
from fsd.families import get_family
from fsd.families.configs import family_config
from fsd.runtime.files import size_bytes, write_json
from fsd.weights.accounting import file_tensors, key_today
from fsd.weights.detect import require_model
from fsd.weights.keys import Entry, entries, get_layout, part_names
from fsd.weights.layouts import LAYOUTS, Layout
from fsd.weights.outlines import Config
from fsd.weights.output import Converted, Tell, disk_faults, dtype_named, silent, widest, write_file
from fsd.weights.parts import read_config, read_json, weight_files
from fsd.weights.tensors import Shape, StoredTensor, Target, rows_of
from fsd.weights.weight_file import read_weights

SCHEDULER = "scheduler/scheduler_config.json"


@dataclass(frozen=True)
class Blueprint:
    """The folder to be made. configs: by part. index, scheduler: model_index.json, scheduler_config.json."""

    layout: Layout
    configs: Mapping[str, Config]
    index: Mapping[str, Any]
    scheduler: Mapping[str, Any]


def write_folder(
    source: Path, destination: Path, like: Path | None = None, family: str = "", *, layout: str = "",
    dtype: str | None = None, without: Collection[str] = (), prediction: str = "", tell: Tell = silent,
) -> Converted:  # fmt: skip
    """Turn one file into a Diffusers folder at `destination`, which must not exist yet.

    family: whose configurations the folder gets ("": as detected). like: a Diffusers folder that lends tokenizers and
    the parts that the file lacks; without a family also its configurations and scheduler. Tokenizers that nobody lends
    are named in `lacks`: copy them there from a Diffusers folder with the same text encoders. layout: of the file, if
    `like` does not tell. without: parts to leave out. prediction: of the network, if the file does not tell it.
    """
    if destination.exists():
        raise WeightsError(f"{destination} already exists", "choose another folder or delete this one")
    kind = dtype_named(dtype)
    plan = _blueprint(source, like, family, layout, prediction)
    tensors = read_weights(source)[0]
    absent = {name for name in plan.layout.names()[1:] if not (plan.index.get(name) or [None])[0]}
    wanted = part_names(plan.layout, {*without, *absent})
    there, lent = _parts(plan.layout, wanted, source, tensors, like)
    configs = {name: plan.configs[name] for name in there}
    table = entries(plan.layout, configs)
    expected = {entry.key: entry.shape for entry in table}
    found, left_out = file_tensors(plan.layout, configs, expected, tensors.values(), str(source))
    partial = destination.with_name(f".{destination.name}.partial-folder")
    with disk_faults(destination):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            lacks = _frame(plan, partial, like, {*there, *lent})
            for name in lent:
                shutil.copytree(Path(like or "", name), partial / name, ignore=shutil.ignore_patterns(".*"))
            count = 0
            for name in there:
                write_json(partial / name / "config.json", dict(configs[name]))
                stem = "model" if name.startswith("text_encoder") else "diffusion_pytorch_model"
                targets = _targets([entry for entry in table if entry.part == name], found, kind)
                write_file(partial / name / f"{stem}.safetensors", targets, {"format": "pt"}, tell)
                count += len(targets)
            partial.rename(destination)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Converted(destination, size_bytes(destination), count, tuple(left_out), lacks=lacks)


def layout_of(folder: Path) -> str:
    """The single-file layout of a Diffusers folder, by the classes of its parts; WeightsError for another pipeline."""
    for part, kinds in (("unet", {"UNet2DConditionModel": ""}), ("transformer", _TRANSFORMERS)):
        if (folder / part / "config.json").is_file():
            config = read_config(folder / part)
            if config.get("_class_name", "UNet2DConditionModel") not in kinds:
                what = f"{folder} holds a {config['_class_name']}, which fsd cannot convert"
                raise WeightsError(what, f"known layouts: {', '.join(LAYOUTS)}")
            if part == "transformer":
                return _TRANSFORMERS[config["_class_name"]]
            if config.get("addition_embed_type"):
                return "sdxl"
            return "sd2" if config.get("use_linear_projection") else "sd1"
    raise WeightsError(f"{folder} is not a Diffusers model: no unet, no transformer", "point to a whole folder")


_TRANSFORMERS = {"SD3Transformer2DModel": "sd3", "FluxTransformer2DModel": "flux"}


def _blueprint(source: Path, like: Path | None, family: str, layout: str, prediction: str) -> Blueprint:
    if like is not None and not family:
        form = get_layout(layout or layout_of(like))
        configs = {name: read_config(like / name) for name in form.names() if (like / name / "config.json").is_file()}
        return _predicting(
            Blueprint(form, configs, read_json(like / "model_index.json"), read_json(like / SCHEDULER)), prediction
        )
    if not family:
        found = require_model(source)
        family, prediction = found.family, prediction or found.prediction
        if not family:
            what = f"{source} is {found.title}, of a family that fsd does not know for sure"
            raise WeightsError(what, "name the family, or give a Diffusers folder that it is like")
    form = get_layout(get_family(family).layout)
    configs = {name: family_config(family, name) for name in form.names()}
    index, scheduler = family_config(family, "model_index"), family_config(family, "scheduler")
    return _predicting(Blueprint(form, configs, index, scheduler), prediction)


def _predicting(plan: Blueprint, prediction: str) -> Blueprint:
    """The blueprint with a scheduler for what the network predicts."""
    if len(plan.layout.predictions) < 2 or prediction in ("", plan.scheduler.get("prediction_type", "epsilon")):
        return plan
    return replace(plan, scheduler={**plan.scheduler, "prediction_type": prediction})


def _parts(
    layout: Layout, wanted: Collection[str], source: Path, keys: Collection[str], like: Path | None
) -> tuple[list[str], list[str]]:
    """(the parts that the file holds, those that `like` lends); WeightsError naming parts that nobody has."""
    today = {key_today(layout, key) for key in keys}
    there, lent, missing = [], [], []
    for part in layout.parts:
        if part.name not in wanted:
            continue
        if any(key.startswith(part.prefix) for key in today) or part == layout.backbone:
            there.append(part.name)
        elif like and (like / part.name / "config.json").is_file() and weight_files(like / part.name):
            lent.append(part.name)
        else:
            missing.append(part.name)
    if missing:
        hint = "give a Diffusers folder that lends them (like), or leave them out"
        raise WeightsError(f"{source} holds no {' and no '.join(missing)}", hint)
    return there, lent


def _frame(plan: Blueprint, folder: Path, like: Path | None, parts: Collection[str]) -> tuple[str, ...]:
    """Write all but the parts of the network; return the tokenizers that are still to be put there."""
    index, lacks = dict(plan.index), []
    for name, component in plan.index.items():
        if not isinstance(component, list) or name in parts or component[:1] == [None]:
            continue
        if name == "scheduler":
            write_json(folder / SCHEDULER, dict(plan.scheduler))
        elif name.startswith("tokenizer") and name.replace("tokenizer", "text_encoder") in parts:
            if like and (like / name).is_dir():
                shutil.copytree(like / name, folder / name, ignore=shutil.ignore_patterns(".*"))
            else:
                lacks.append(name)
        else:
            index[name] = [None, None]
    if index.get("safety_checker") == [None, None]:
        index["requires_safety_checker"] = False
    write_json(folder / "model_index.json", index)
    return tuple(lacks)


def _targets(table: list[Entry], found: Mapping[str, StoredTensor], dtype: str | None) -> list[Target]:
    """The tensors of one part, put together from the rows that they have in the file."""
    rows: dict[str, list[tuple[int, StoredTensor]]] = {}
    shapes: dict[str, tuple[Shape, bool]] = {}
    for entry in table:
        at = 0
        for piece in entry.pieces:
            stored = found[entry.key]
            part = stored if len(entry.pieces) == 1 else rows_of(stored, at, piece.rows)
            rows.setdefault(piece.name, []).append((piece.start, part))
            shapes[piece.name] = (piece.shape, entry.transposed)
            at += piece.rows
    targets = []
    for name, pieces in rows.items():
        sources = tuple(part for _, part in sorted(pieces, key=lambda piece: piece[0]))
        targets.append(Target(name, dtype or widest(sources), shapes[name][0], sources, shapes[name][1]))
    return targets
