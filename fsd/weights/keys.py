"""How the tensors of a Diffusers folder are called in one file: a layout applied to configurations, used both ways.

The table of all entries is computed once from the configurations, so the way back needs no rules of its own. Renames
that give several tensors one key join them along the first axis, in the outline's order, if `joined` allows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fsd.errors import RecipeError, WeightsError
from fsd.weights.layouts import LAYOUTS, Layout, PartLayout
from fsd.weights.outlines import Config, layers_of
from fsd.weights.tensors import FLOATS, Shape, StoredTensor


@dataclass(frozen=True)
class Entry:
    """One tensor of a single file: `key` and `shape` there, its `part` and `sources` (name, shape) in the folder."""

    key: str
    shape: Shape
    part: str
    sources: tuple[tuple[str, Shape], ...]


def get_layout(name: str) -> Layout:
    """The layout called `name`; RecipeError listing the known ones otherwise."""
    if name not in LAYOUTS:
        raise RecipeError(f"there is no single-file layout {name!r}", f"choose one of: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def entries(layout: Layout, configs: Mapping[str, Config]) -> list[Entry]:
    """Every tensor that a single file of this layout must hold, for parts configured so (`configs` by part name)."""
    found: dict[str, Entry] = {}
    for part in layout.parts:
        rename = _renamer(part, configs[part.name])
        for name, shape in part.outline(configs[part.name]).items():
            key, there = part.prefix + rename(name), _appended(part, name, shape)
            sources: tuple[tuple[str, Shape], ...] = ((name, shape),)
            if key in found:
                if not key.endswith(part.joined or ("\0",)):
                    what = f"two tensors of {part.name} would be called {key}"
                    raise WeightsError(what, "this model cannot be converted")
                there = (found[key].shape[0] + there[0], *there[1:])
                sources = found[key].sources + sources
            found[key] = Entry(key, there, part.name, sources)
    return list(found.values())


def _appended(part: PartLayout, name: str, shape: Shape) -> Shape:
    return shape + next((more for pattern, more in part.appended if re.search(pattern, name)), ())


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


def part_tensors(
    part: PartLayout, expected: Mapping[str, Shape], stored: Iterable[StoredTensor], where: str
) -> tuple[dict[str, StoredTensor], list[str]]:
    """(tensors by today's names, names left out) of a part's weight files; WeightsError naming what does not fit."""

    def today(name: str) -> str:
        for pattern, new in part.aliases:
            name = re.sub(pattern, new, name, count=1)
        return name

    return _accounted(stored, today, part.left_out, expected, where)


def file_tensors(
    layout: Layout, expected: Mapping[str, Shape], stored: Iterable[StoredTensor], where: str
) -> tuple[dict[str, StoredTensor], list[str]]:
    """(tensors by key, keys left out) of a single file; WeightsError naming what does not fit."""

    def today(key: str) -> str:
        for part in layout.parts:
            if key.startswith(part.prefix):
                name = key.removeprefix(part.prefix)
                for pattern, new in part.aliases:
                    name = re.sub(pattern, new, name, count=1)
                return part.prefix + name
        return key

    patterns = layout.left_out + tuple(pattern for part in layout.parts for pattern in part.left_out)
    return _accounted(stored, today, patterns, expected, where)


def _accounted(
    stored: Iterable[StoredTensor], today: Callable[[str], str], patterns: tuple[str, ...],
    expected: Mapping[str, Shape], where: str,
) -> tuple[dict[str, StoredTensor], list[str]]:  # fmt: skip
    used: dict[str, StoredTensor] = {}
    left_out, faults = [], []
    for tensor in stored:
        name = today(tensor.key)
        if name not in expected and any(re.search(pattern, name) for pattern in patterns):
            left_out.append(tensor.key)
        elif name not in expected or name in used:
            faults.append(f"{'twice' if name in used else 'not expected'}: {tensor.key}")
        else:
            used[name] = tensor
            if _squeezed(tensor.shape) != _squeezed(expected[name]):
                faults.append(f"{tensor.key} has shape {list(tensor.shape)}, not {list(expected[name])}")
            if tensor.dtype not in FLOATS:
                faults.append(f"{tensor.key} has dtype {tensor.dtype}, not a floating one")
    faults = [f"missing: {name}" for name in expected if name not in used] + faults
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        what = f"the tensors of {where} do not fit its configuration: {shown}"
        raise WeightsError(what, "use the config.json and weights of one model")
    return used, left_out


def _squeezed(shape: Shape) -> Shape:
    """The shape without trailing ones: a 1x1 convolution and a linear layer hold the same bytes."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
