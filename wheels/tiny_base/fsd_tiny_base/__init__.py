"""A tiny Stable Diffusion of our own: where its Diffusers folder, its judge and its list of concepts lie. Imports nothing heavy."""

import json
from pathlib import Path

__version__ = "1.0.0"
_HERE = Path(__file__).resolve().parent


def model_folder() -> Path:
    """The Diffusers folder of the base model (128 px, SD 1.x layout, fp16), for StableDiffusionPipeline.from_pretrained."""
    return _HERE / "model"


def judge_folder() -> Path:
    """The folder of the judge: judge.safetensors and judge.json."""
    return _HERE / "judge_model"


def concepts() -> list[dict]:
    """What the base can draw: one record a concept, with name, article, synonyms, code_point and category."""
    return json.loads((_HERE / "concepts.json").read_text(encoding="utf-8"))


def sources() -> list[dict]:
    """Every picture set the base was trained on: name, package, version, licence and use."""
    return json.loads((_HERE / "sources.json").read_text(encoding="utf-8"))
