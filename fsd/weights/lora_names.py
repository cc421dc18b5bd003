"""What a LoRA calls the layers that it changes: Diffusers' names, the original code bases' and kohya's, by layout.

The tables come from the single-file layouts and the families' configurations, so what is true of a checkpoint's names
is true of a LoRA's. Prefixes: sd-scripts (kohya-ss); the web UI, ComfyUI and Diffusers read them alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from fsd.families import FAMILIES
from fsd.families.configs import family_config
from fsd.weights.keys import Entry, entries, get_layout
from fsd.weights.layouts import Layout

BACKBONE_PREFIXES = (
    *("lora_unet_", "lora_transformer_", "unet.", "transformer.", "diffusion_model.", "model.diffusion_model."),
    "base_model.model.",
)
"""The first is the one that is written."""
Prefixes = dict[str, tuple[str, ...]]
_ONE: Prefixes = {"text_encoder": ("lora_te_", "lora_te1_")}
_TWO: Prefixes = {"text_encoder": ("lora_te1_",), "text_encoder_2": ("lora_te2_",)}
TEXT_PREFIXES: dict[str, Prefixes] = {
    "sd1": _ONE,
    "sd2": _ONE,
    "sdxl": _TWO,
    "sd3": _TWO | {"text_encoder_3": ("lora_te3_",)},
    "flux": {"text_encoder": ("lora_te1_",), "text_encoder_2": ("lora_te3_", "lora_te2_")},
}
"""By layout and part of the Diffusers folder: what kohya calls it first, then what others do."""
_NAMED_BY_DIFFUSERS = {"sd1", "sd2"}
"""Layouts whose UNet kohya trains as Diffusers builds it; the other networks are the original code bases'."""


@dataclass(frozen=True)
class Module:
    """A layer as a file holds it. part: of the Diffusers folder. names: the Diffusers layers in it, one below the other.

    ratios: the rows of each, as multiples of what the layer reads. kohya: what a kohya file calls it.
    halves: the two halves of its rows change places between the files if it has two rows for each value that it reads.
    """

    part: str
    names: tuple[str, ...]
    ratios: tuple[float, ...]
    kohya: str
    halves: bool = False


@dataclass(frozen=True)
class Names:
    """The layers of a layout: `kohya` by part and flat original name, `diffusers` by part and flat Diffusers name."""

    layout: Layout
    kohya: dict[tuple[str, str], Module]
    diffusers: dict[tuple[str, str], Module]

    def find(self, stem: str) -> tuple[Module, str]:
        """(the layer that a key without its ending speaks of, which Diffusers layer of it; "" for all together).

        KeyError for one that no family of the layout has.
        """
        part, flat = self._split(stem)
        if (part, flat) not in self.diffusers:
            return self.kohya[part, flat], ""
        module = self.diffusers[part, flat]
        return module, next(name for name in module.names if flat in _flat_names(name))

    def _split(self, stem: str) -> tuple[str, str]:
        for part, prefixes in TEXT_PREFIXES[self.layout.name].items():
            for prefix in (*prefixes, f"{part}."):
                if stem.startswith(prefix):
                    return part, _flat(stem.removeprefix(prefix))
        prefix = next((prefix for prefix in BACKBONE_PREFIXES if stem.startswith(prefix)), "")
        return self.layout.backbone.name, _flat(stem.removeprefix(prefix))


@cache
def names_of(layout: str) -> Names:
    """The layers of all families of a layout; RecipeError for an unknown one."""
    found = Names(get_layout(layout), {}, {})
    families = [family.name for family in FAMILIES.values() if family.layout == layout]
    tables = [[*_backbone(found.layout, name), *_texts(found.layout, name)] for name in families]
    for table in sorted(
        tables, key=len, reverse=True
    ):  # the original code numbers the blocks of a smaller one otherwise
        for original, module in table:
            found.kohya.setdefault((module.part, _flat(original)), module)
            for name in module.names:
                for flat in _flat_names(name):
                    found.diffusers.setdefault((module.part, flat), module)
    return found


def _backbone(layout: Layout, family: str) -> Iterator[tuple[str, Module]]:
    part = layout.backbone
    for entry in entries(layout, {part.name: family_config(family, part.name)}):
        if entry.key.endswith(".weight") and len(entry.shape) > 1:
            original = entry.key.removeprefix(part.prefix).removesuffix(".weight")
            yield original, _module(layout, entry, original)


def _module(layout: Layout, entry: Entry, original: str) -> Module:
    pieces = {piece.name.removesuffix(".weight"): piece.shape[0] / entry.shape[1] for piece in entry.pieces}
    patterns = [pattern.replace("{last}", r"\d+") for pattern in layout.backbone.swapped]
    halves = any(re.search(pattern, entry.pieces[0].name) for pattern in patterns)
    name = next(iter(pieces)) if layout.name in _NAMED_BY_DIFFUSERS else original
    return Module(entry.part, tuple(pieces), tuple(pieces.values()), BACKBONE_PREFIXES[0] + _flat(name), halves)


def _texts(layout: Layout, family: str) -> Iterator[tuple[str, Module]]:
    """The text encoders' layers, which kohya names as transformers does."""
    prefixes = TEXT_PREFIXES[layout.name]
    for part in (part for part in layout.parts if part.name in prefixes):
        for key, shape in part.outline(family_config(family, part.name)).items():
            if key.endswith(".weight") and len(shape) > 1:
                name = key.removesuffix(".weight")
                yield name, Module(part.name, (name,), (shape[0] / shape[1],), prefixes[part.name][0] + _flat(name))


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _flat_names(name: str) -> tuple[str, str]:
    """A Diffusers name with underscores for dots; also as a text encoder of transformers 5.6 and later calls it."""
    return _flat(name), _flat(name.removeprefix("text_model."))
