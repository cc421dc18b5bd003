"""A captioner's folder in transformers' layout: found by name, on the disk or on the hub, and checked to be whole."""

from __future__ import annotations

import os
from pathlib import Path

from fsd.errors import DownloadError, WeightsError
from fsd.families.captioners import CAPTIONERS, CLASSES, captioner_record
from fsd.families.family import Source
from fsd.weights.base_model import REPOSITORY
from fsd.weights.hub import hub_files
from fsd.weights.parts import read_json, weight_files

_PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors")
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def find_captioner(spec: str, offline: bool = False) -> Path:
    """The folder of a captioner, fetched first where it is not on this machine, unless `offline`.

    spec: a short name ("blip2"), OWNER/NAME on the hub, with @REVISION if wanted, or a folder. RecipeError for another,
    DownloadError when it cannot be fetched, WeightsError when what is there is not whole.
    """
    folder = Path(os.path.expanduser(spec))
    if spec and spec not in CAPTIONERS and folder.is_dir():
        return check_captioner(folder.resolve())
    named = REPOSITORY.fullmatch(spec)
    match = named or REPOSITORY.fullmatch(captioner_record(spec).repository)
    assert match
    try:
        return hub_files(Source(match["name"], match["revision"] or "main"), _PATTERNS, check_captioner, offline)
    except DownloadError as fault:
        more = "or give the folder of a captioner; captions by template or file name need none"
        raise DownloadError(fault.message, f"{fault.hint}; {more}") from None


def check_captioner(folder: Path) -> Path:
    """`folder`, if a BLIP-2 or BLIP with its weights, tokenizer and image processor is in it; else WeightsError."""
    hint = "choose a folder or repository as transformers' save_pretrained makes it, of the model and of its processor"
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} is no captioner: it has no config.json", hint)
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in CLASSES:
        raise WeightsError(f"{folder} holds a {kind!r}, which is neither BLIP-2 nor BLIP", hint)
    for what, names in (("tokenizer", _TOKENIZERS), ("image processor", _PROCESSORS)):
        if not any((folder / name).is_file() for name in names):
            raise WeightsError(f"{folder} has no {what}: none of {', '.join(names)}", hint)
    if lost := [file.name for file in weight_files(folder) if not file.is_file()]:
        raise WeightsError(f"{folder} lacks {', '.join(lost)}", "download the model again")
    return folder


def need_work(folder: Path, work: str) -> str:
    """The model's kind; WeightsError unless it is made for that work."""
    config = read_json(folder / "config.json")
    kind, made_for = str(config["model_type"]), set(config.get("architectures") or ())
    wanted = CLASSES[kind].get(work)
    if wanted is None or (made_for and wanted not in made_for):
        fitting = [record.name for record in CAPTIONERS.values() if work in record.works]
        hint = f"choose one that is, such as {' or '.join(fitting)}"
        raise WeightsError(f"{folder} holds a {', '.join(made_for) or kind}, which is not made to {work}", hint)
    return kind
