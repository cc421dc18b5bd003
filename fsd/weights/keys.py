"""How the tensors of a Diffusers folder are called in one file: a layout applied to configurations, used both ways.

The table of all entries is computed once from the configurations, so the way back needs no rules of its own. A tensor
of the file is one of the folder, or rows of several one below the other, in the outline's order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from fsd.errors import RecipeError, WeightsError
from fsd.weights.layouts import LAYOUTS, Layout, PartLayout
from fsd.weights.outlines import Config, layers_of
from fsd.weights.tensors import Shape


@dataclass(frozen=True)
class Piece:
    """`rows` rows, from row `start`, of the folder's tensor `name`, the whole of which has `shape`."""

    name: str
    shape: Shape
    start: int
    rows: int


@dataclass(frozen=True)
class Entry:
    """One tensor of a single file: `key` and `shape` there, and the `pieces` of a `part` of the folder that it holds.

    transposed: the file holds the one piece, a whole matrix, turned over.
    """

    key: str
    shape: Shape
    part: str
    pieces: tuple[Piece, ...]
    transposed: bool = False


def get_layout(name: str) -> Layout:
    """The layout called `name`; RecipeError listing the known ones otherwise."""
    if name not in LAYOUTS:
        raise RecipeError(f"there is no single-file layout {name!r}", f"choose one of: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def part_names(layout: Layout, without: Collection[str]) -> tuple[str, ...]:
    """The layout's parts but those `without`; RecipeError for an unknown one, or if the network itself shall be out."""
    names = layout.names()
    if unknown := set(without) - set(names[1:]):
        hint = f"what can be left out: {', '.join(names[1:])}"
        raise RecipeError(f"{', '.join(sorted(unknown))} cannot be left out of this model", hint)
    return tuple(name for name in names if name not in without)


def entries(layout: Layout, configs: Mapping[str, Config]) -> list[Entry]:
    """Every tensor that a single file of this layout must hold, for the parts in `configs`, configured so."""
    found: dict[str, Entry] = {}
    for part in layout.parts:
        if part.name not in configs:
            continue
        config = configs[part.name]
        rename = _renamer(part, config)
        for name, shape in part.outline(config).items():
            entry = _entry(part, config, part.prefix + rename(name), name, shape)
            if entry.key in found:
                entry = _joined(part, found[entry.key], entry)
            found[entry.key] = entry
    return list(found.values())


def repeated(layout: Layout, plan: Iterable[Entry]) -> list[Entry]:
    """The entries of `plan` that a file holds once more, by their other keys."""
    again = {part.prefix + key: part.prefix + other for part in layout.parts for key, other in part.repeated}
    return [replace(entry, key=again[entry.key]) for entry in plan if entry.key in again]


def _entry(part: PartLayout, config: Config, key: str, name: str, shape: Shape) -> Entry:
    """The entry of one tensor that is alone under its key."""
    there = shape + next((more for pattern, more in part.appended if re.search(pattern, name)), ())
    half, odd = divmod(shape[0], 2)
    if _matches(part.transposed, config, name):
        return Entry(key, there[::-1], part.name, (Piece(name, shape, 0, shape[0]),), transposed=True)
    if not _matches(part.swapped, config, name):
        return Entry(key, there, part.name, (Piece(name, shape, 0, shape[0]),))
    if odd:
        raise WeightsError(f"{name} has {shape[0]} rows, which have no halves", "this model cannot be converted")
    return Entry(key, there, part.name, (Piece(name, shape, half, half), Piece(name, shape, 0, half)))


def _joined(part: PartLayout, first: Entry, second: Entry) -> Entry:
    if not first.key.endswith(part.joined or ("\0",)):
        what = f"two tensors of {part.name} would be called {first.key}"
        raise WeightsError(what, "this model cannot be converted")
    shape = (first.shape[0] + second.shape[0], *first.shape[1:])
    return Entry(first.key, shape, first.part, first.pieces + second.pieces)


def _matches(patterns: tuple[str, ...], config: Config, name: str) -> bool:
    return any(re.search(filled(pattern, config), name) for pattern in patterns)


def filled(pattern: str, config: Config) -> str:
    """A layout's pattern with the numbers of this configuration."""
    last, layers = config.get("num_layers", 1) - 1, config.get("num_hidden_layers", 12)
    return pattern.replace("{last}", str(last)).replace("{layers}", str(layers))


def _renamer(part: PartLayout, config: Config) -> Callable[[str], str]:
    rules = []
    for old, new in part.renames:
        pattern = re.escape(old).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{j\}", r"(?P<j>\d+)")
        rules.append((re.compile(r"(?:^|(?<=\.))" + pattern), new))

    def rename(name: str) -> str:
        for pattern, new in rules:
            if match := pattern.search(name):
                name = name[: match.start()] + new.format(**_numbers(config, **match.groupdict())) + name[match.end() :]
        return name

    return rename


def _numbers(config: Config, i: str = "0", j: str = "0") -> dict[str, int]:
    """The numbers that a rename may use. The original UNet counts every layer and resampler as a block of its own."""
    block, layer = int(i), int(j)
    if "block_out_channels" not in config:
        return {"i": block, "j": layer}
    layers, blocks = layers_of(config), len(config["block_out_channels"])
    ups = config.get("up_block_types", ())
    return {
        "i": block,
        "j": layer,
        "next": layer + 1,
        "middle": 2 * layer,
        "mirror": blocks - 1 - block,
        "down": 1 + block * (layers + 1) + layer,
        "down_end": (block + 1) * (layers + 1),
        "up": block * (layers + 1) + layer,
        "up_end": block * (layers + 1) + layers,
        "up_last": 2 if block < len(ups) and "CrossAttn" in ups[block] else 1,
    }
