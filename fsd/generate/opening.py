"""The model that a job asks for: found by what people call it, opened, and kept until another one is asked for."""

from __future__ import annotations

import gc
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fsd.data.folder import is_session
from fsd.data.names import is_plain
from fsd.data.session import Session, open_session_folder, sessions_folder
from fsd.errors import FsdError, RecipeError
from fsd.families import FAMILIES, get_family
from fsd.families.family import ModelFamily
from fsd.generate.models import load_pipeline, open_model
from fsd.generate.pipelines import PIPELINES
from fsd.recipe import STAGES
from fsd.runtime import report
from fsd.weights.base_model import find_base_model
from fsd.weights.checkpoint import list_checkpoints
from fsd.weights.detect import Detected, require_model

_INPUTS = {"unet": (4, 9), "transformer": (16, 64)}
"""The channels that the backbone reads: the latents, and in inpainting models the mask and the masked picture too."""


@dataclass
class Opened:
    """A model in memory. name: for people, in the picture's settings. key: tells it from what was there before.

    family: its record, or the nearest where none fits; native_px: the side that it draws best. scheduler: the one that
    it came with. What belongs to it goes with it: loras and the weights that they replaced (`fsd.generate.merging`),
    controlnets by path, previewer.
    """

    pipeline: Any
    name: str
    key: tuple[Any, ...]
    family: ModelFamily
    native_px: int
    scheduler: Any = field(init=False)
    loras: tuple[Any, ...] = ()
    replaced: dict[tuple[str, str], Any] = field(default_factory=dict)
    controlnets: dict[tuple[str, int], Any] = field(default_factory=dict)
    previewer: Any = None

    def __post_init__(self) -> None:
        self.scheduler = self.pipeline.scheduler

    @property
    def backbone(self) -> Any:
        """The UNet or transformer."""
        return getattr(self.pipeline, self.family.backbone)

    @property
    def inpainting(self) -> bool:
        """Whether it reads a mask with the latents."""
        return bool(self.backbone.config.in_channels == 9)


class Shelf:
    """Holds one model. root: the folder whose sessions have names here."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened: Opened | None = None

    def get(self, spec: str) -> Opened:
        """The model, from memory if it is there and unchanged on the disk; another one is let go first.

        spec: as in a Job. FsdError of the kind that fits when there is no such model, or it is not whole.
        """
        session, part = self._session(spec)
        key = _session_key(session, part) if session else _place_key(spec)
        if self.opened and self.opened.key == key:
            return self.opened
        self.clear()
        report.say(f"loading {shown_spec(spec)}")
        opened = _open_session(session, part, key) if session else self._open_place(spec, key)
        _check(opened, spec)
        self.opened = opened
        return opened

    def clear(self) -> None:
        """Free the memory of the model that is here."""
        self.opened = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _session(self, spec: str) -> tuple[Session | None, str]:
        """(the session that a text names, by its name or its folder, what stands after the @); None if it names none."""
        name, _, part = spec.partition("@")
        if is_plain(name) and is_session(sessions_folder(self.root) / name):
            return open_session_folder(sessions_folder(self.root) / name), part
        folder = os.path.expanduser(spec)
        if os.path.isabs(folder) and os.path.isdir(folder) and is_session(Path(folder)):
            return open_session_folder(Path(folder)), ""
        return None, ""

    def _open_place(self, spec: str, key: tuple[Any, ...]) -> Opened:
        try:
            base = find_base_model(spec)
        except RecipeError as fault:
            there = sessions_folder(self.root)
            names = sorted(path.name for path in there.iterdir() if is_session(path)) if there.is_dir() else []
            known = f"sessions: {', '.join(names)}; or " if names else ""
            raise RecipeError(f"there is no model {spec!r}", f"{known}{fault.hint}") from None
        found = require_model(base)
        family = FAMILIES.get(spec) or _family_of(found)
        pipeline = load_pipeline(base, {})
        known_px = family.native_px if found.family or spec in FAMILIES else 0
        return Opened(pipeline, model_name(spec), key, family, known_px or _sample_px(pipeline, family))


def _open_session(session: Session, part: str, key: tuple[Any, ...]) -> Opened:
    recipe = session.recipe()
    model = open_model(session, recipe, part)
    name = model.name if model.trained else f"{session.name}@base"
    return Opened(model.pipeline, name, key, get_family(recipe.family), recipe.resolution_px)


def _session_key(session: Session, part: str) -> tuple[Any, ...]:
    """What tells a session's model from another: its recipe and its checkpoints, as they are on the disk now."""
    stages = [list_checkpoints(session.checkpoints, stage) for stage in STAGES]
    return (str(session.folder), part, _stamp(session.recipe_path), *(_stamp(one) for many in stages for one in many))


def _place_key(spec: str) -> tuple[Any, ...]:
    path = Path(os.path.expanduser(spec))
    try:
        return (spec, _stamp(path / "model_index.json" if path.is_dir() else path))
    except OSError:  # a link may be longer than a file's name
        return (spec,)


def shown_spec(spec: str) -> str:
    """What a Job calls its model, for people: a link without its query and user, which may be secret."""
    return re.sub(r"(?<=://)[^/@]*@|[?#].*", "", spec) if "://" in spec else spec


def model_name(spec: str) -> str:
    """The model's name in the pictures' settings: a family's, a file's or a folder's."""
    return spec if spec in FAMILIES else Path(shown_spec(spec).rstrip("/")).stem


def _stamp(path: Path) -> tuple[str, int, int]:
    if not path.exists():
        return path.name, 0, 0
    found = path.stat()
    return path.name, found.st_mtime_ns, found.st_size


def _family_of(found: Detected) -> ModelFamily:
    """The record of a model that was recognised, or the first of its layout."""
    if found.family:
        return get_family(found.family)
    return next(family for family in FAMILIES.values() if family.layout == found.layout)


def _sample_px(pipeline: Any, family: ModelFamily) -> int:
    size = getattr(getattr(pipeline, family.backbone).config, "sample_size", None)
    return int(size) * pipeline.vae_scale_factor if isinstance(size, int) else family.native_px


def _check(opened: Opened, spec: str) -> None:
    """RecipeError for models that only their own pipelines can draw with."""
    family = opened.family
    fits = getattr(opened.pipeline, family.backbone, None) is not None and family.layout in PIPELINES
    channels = opened.backbone.config.in_channels if fits else "?"
    if not fits or channels not in _INPUTS[family.backbone]:
        what = f"{spec} is a model that reads {channels} channels, for depth, pix2pix or the like"
        fault: FsdError = RecipeError(
            what, "choose a model for pictures from text, or an inpainting model of SD or SDXL"
        )
        raise fault
