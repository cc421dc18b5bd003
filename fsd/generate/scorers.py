"""What looks at the pictures: one small seam, and behind it the tiny base's judge or DINO and CLIP."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fsd.errors import DownloadError, MachineError
from fsd.families.family import ModelFamily
from fsd.weights.base_model import INSTALL_WHEEL

Vectors = NDArray[np.float32]
"""(N, D): one row a picture, of length 1, so that a dot product is the cosine."""

DINO = "facebook/dino-vits16"
CLIP = "openai/clip-vit-base-patch32"
COMMON_THINGS = (
    *("a dog", "a cat", "a horse", "a bird", "an elephant", "a fish", "a man", "a woman", "a car", "a bus"),
    *("a bicycle", "a boat", "a house", "a tree", "a flower", "a chair", "a clock", "a guitar", "a cake", "an apple"),
)
_OTHER_THINGS = 20
Concept = TypeVar("Concept")


class Scorer(Protocol):
    """Gives image vectors and says whether pictures show what their prompts ask. things: with article, "an owl"."""

    name: str
    things: tuple[str, ...]

    def vectors(self, pictures: Sequence[Image]) -> Vectors:
        """The pictures' vectors."""

    def shows(self, pictures: Sequence[Image], things: Sequence[str]) -> list[bool]:
        """For each picture whether its thing is the first that the scorer names, among all that it knows."""


class JudgeScorer:
    """The judge that travels with a base model's wheel; things: twenty of the base's concepts, as `scored` chooses them."""

    def __init__(self, package: str) -> None:
        try:
            concepts = importlib.import_module(package).concepts()
            self._judge = importlib.import_module(f"{package}.judge").load_judge()
        except (ImportError, AttributeError, OSError) as fault:
            told = f"the judge in the package {package} cannot be loaded: {fault}"
            raise MachineError(told, INSTALL_WHEEL) from fault
        self.name = f"{package} judge"
        named = [(f"{concept['article']} {concept['name']}".strip(), concept["name"]) for concept in concepts]
        self._concept = dict(named)
        self.things = tuple(thing for thing, _ in scored(named))

    def vectors(self, pictures: Sequence[Image]) -> Vectors:
        return np.asarray(self._judge.embed(list(pictures)), np.float32)

    def shows(self, pictures: Sequence[Image], things: Sequence[str]) -> list[bool]:
        named = self._judge.name(list(pictures), top=1)
        return [first[0][0] == self._concept[thing] for first, thing in zip(named, things, strict=True)]


class DinoClipScorer:
    """DINO for likeness (Caron et al. 2021; DreamBooth's choice) and CLIP for what a picture shows (Radford et al. 2021).

    dino, clip: hub names or folders. Raises DownloadError when they cannot be had.
    """

    things: tuple[str, ...] = COMMON_THINGS

    def __init__(self, dino: str = DINO, clip: str = CLIP) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.name = f"{Path(dino).name} + {Path(clip).name}"
        self._dino, self._dino_pixels = _load(AutoModel, dino), _image_processor(dino, "ViTImageProcessorPil")
        self._clip, self._clip_pixels = _load(AutoModel, clip), _image_processor(clip, "CLIPImageProcessorPil")
        self._tokenizer = _load(AutoTokenizer, clip)

    def vectors(self, pictures: Sequence[Image]) -> Vectors:
        rows = [
            self._dino(**self._dino_pixels(images=picture, return_tensors="pt")).last_hidden_state[0, 0]
            for picture in pictures
        ]
        return _unit(rows)

    def shows(self, pictures: Sequence[Image], things: Sequence[str]) -> list[bool]:
        texts = self._tokenizer([f"a photo of {thing}" for thing in self.things], padding=True, return_tensors="pt")
        names = _unit(list(_pooled(self._clip.get_text_features(**texts))))
        seen = [
            _pooled(self._clip.get_image_features(**self._clip_pixels(images=picture, return_tensors="pt")))[0]
            for picture in pictures
        ]
        firsts = (_unit(seen) @ names.T).argmax(axis=1)
        return [self.things[first] == thing for first, thing in zip(firsts, things, strict=True)]


def scored(concepts: Sequence[Concept]) -> Sequence[Concept]:
    """Those of a base model's concepts that the score asks for: twenty, spread over all. The demo protects the others."""
    return concepts[:: max(1, len(concepts) // _OTHER_THINGS)][:_OTHER_THINGS]


def choose_scorer(family: ModelFamily, dino: str = "", clip: str = "") -> Scorer:
    """The judge that travels with the family's base model where there is one, else DINO and CLIP."""
    packages = [source.package for source in family.sources if source.package]
    if packages and not (dino or clip):
        return JudgeScorer(packages[0])
    return DinoClipScorer(dino or DINO, clip or CLIP)


def _load(kind: Any, name: str) -> Any:
    """A model (in eval mode) or its helper, by transformers."""
    try:
        loaded = kind.from_pretrained(name)
    except (OSError, ValueError) as fault:
        hint = "connect to the internet once, or give score the folders that hold the models, as --dino and --clip"
        raise DownloadError(f"{name}, which the score needs, cannot be loaded: {fault}", hint) from fault
    return loaded.eval().requires_grad_(False) if hasattr(loaded, "eval") else loaded


def _image_processor(name: str, plain: str) -> Any:
    """A model's image processor; plain: its class where the automatic choice wants torchvision (transformers 5.15)."""
    import transformers

    try:
        return _load(transformers.AutoImageProcessor, name)
    except ImportError:
        return _load(getattr(transformers, plain), name)


def _pooled(output: Any) -> Any:
    """transformers 5 wraps what 4 gave as a tensor."""
    return getattr(output, "pooler_output", output)


def _unit(rows: Sequence[Any]) -> Vectors:
    stacked = np.stack([row.detach().float().cpu().numpy() for row in rows])
    return (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).astype(np.float32)
