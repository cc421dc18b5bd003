"""A model ready to draw: a session's, at any checkpoint, its base, or one CKPT file."""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fsd.data.folder import CKPT_SUFFIXES, Session
from fsd.errors import WeightsError
from fsd.families import get_family
from fsd.generate.changing import add_lora
from fsd.generate.placing import half_precision, place
from fsd.recipe import Recipe
from fsd.runtime import report
from fsd.runtime.lean import loading
from fsd.weights.base_model import find_base_model
from fsd.weights.ckpt import read_file
from fsd.weights.detect import detect
from fsd.weights.model import base_parts, trained_model

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns about image processors that nothing here uses


@dataclass(frozen=True)
class Model:
    """pipeline: of Diffusers. name: for people. trained: whether any of it is not the base model's."""

    pipeline: Any
    name: str
    trained: bool


def open_model(session: Session, recipe: Recipe, model: str) -> Model:
    """A session's model. model: "" the newest checkpoints, "base", a checkpoint's name, a CKPT or a LoRA file."""
    base = find_base_model(recipe.base_model or recipe.family)
    if Path(model).suffix in CKPT_SUFFIXES:
        return _of_file(base, recipe, Path(model).expanduser())
    found = trained_model(base, session.checkpoints, recipe, report.say, model)
    used = [checkpoint.name for checkpoint in found.used.values()]
    name = "+".join([session.name, *used]) if used else recipe.base_model or recipe.family
    pipeline = load_pipeline(base, found.parts)
    if found.lora:
        add_lora(pipeline, get_family(recipe.family), found.lora)
    return Model(pipeline, name, bool(used))


def _of_file(base: Path, recipe: Recipe, file: Path) -> Model:
    if not file.is_file() or detect(file).kind != "lora":
        return Model(load_ckpt(base, file), file.stem, True)
    pipeline = load_pipeline(base, base_parts(base))
    add_lora(pipeline, get_family(recipe.family), file)
    return Model(pipeline, file.stem, True)


def open_base(recipe: Recipe) -> Model:
    """The untrained model of a recipe."""
    base = find_base_model(recipe.base_model or recipe.family)
    return Model(load_pipeline(base, base_parts(base)), recipe.base_model or recipe.family, False)


def load_pipeline(base: Path, parts: dict[str, Path]) -> Any:
    """A Diffusers pipeline of the model in the folder `base`, with the parts that lie elsewhere taken from there.

    Placed as `place` says; without a safety checker. Raises WeightsError when a folder cannot be read.
    """
    _without_loading_bars()
    try:
        index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
        replaced = {name: _load_part(index[name], folder) for name, folder in parts.items() if folder.parent != base}
        options = {**_without_safety(index), **replaced, **_precision(index), "local_files_only": True}
        return _ready(_pipeline_class(index).from_pretrained(base, **options))
    except (OSError, ValueError, KeyError) as fault:
        raise WeightsError(f"the model in {base} cannot be loaded: {fault}", "choose another base model") from fault


def load_ckpt(base: Path, ckpt: Path) -> Any:
    """A Diffusers pipeline of a CKPT file, with configuration, tokenizer and scheduler of the model in `base`.

    Raises WeightsError when the file is missing or does not hold a model of that kind.
    """
    if not ckpt.is_file():
        raise WeightsError(f"there is no CKPT file {ckpt}", "check the path")
    read_file(ckpt)  # says what is wrong with it better than Diffusers does
    index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
    options = {**_without_safety(index), "local_files_only": True}
    _without_loading_bars()
    try:
        pipeline = _pipeline_class(index).from_single_file(str(ckpt), config=str(base), **options)
    except Exception as fault:  # Diffusers raises whatever the unexpected content trips over
        hint = "is it a whole model of the session's family? A LoRA or another family's file is not"
        raise WeightsError(f"{ckpt} cannot be loaded: {fault}", hint) from fault
    return _ready(pipeline)


def _load_part(kind: list[str], folder: Path) -> Any:
    """A part by its [library, class] of model_index.json."""
    return _class(*kind).from_pretrained(folder)


def _pipeline_class(index: dict[str, Any]) -> Any:
    return _class("diffusers", index["_class_name"])


def _class(library: str, name: str) -> Any:
    with loading():
        return getattr(importlib.import_module(library), name)


def _without_safety(index: dict[str, Any]) -> dict[str, Any]:
    if "safety_checker" not in index:
        return {}
    return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def _precision(index: dict[str, Any]) -> dict[str, Any]:
    """On a GPU: have the weights read in half precision, as twice as much would not fit a Colab machine's memory."""
    return {"torch_dtype": half_precision(index)} if torch.cuda.is_available() else {}


def _without_loading_bars() -> None:
    with loading():
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _ready(pipeline: Any) -> Any:
    """The pipeline on the device in its precision; cast here, as Diffusers renamed the argument that casts on loading."""
    pipeline.set_progress_bar_config(disable=True)  # ours counts all pictures
    return place(pipeline)
