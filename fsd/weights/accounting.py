"""Every tensor accounted for: used, or listed as left out, or an error that names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from fsd.errors import WeightsError
from fsd.weights.keys import filled
from fsd.weights.layouts import Layout, PartLayout
from fsd.weights.outlines import Config
from fsd.weights.tensors import FLOATS, Shape, StoredTensor


def part_tensors(
    part: PartLayout, config: Config, expected: Mapping[str, Shape], stored: Iterable[StoredTensor], where: str
) -> tuple[dict[str, StoredTensor], list[str]]:
    """(tensors by today's names, names left out) of a part's weight files; WeightsError naming what does not fit."""
    patterns = tuple(filled(pattern, config) for pattern in part.left_out)
    return _accounted(stored, lambda name: _renamed(part.aliases, name), patterns, expected, where)


def file_tensors(
    layout: Layout, configs: Mapping[str, Config], expected: Mapping[str, Shape], stored: Iterable[StoredTensor],
    where: str,
) -> tuple[dict[str, StoredTensor], list[str]]:  # fmt: skip
    """(tensors by key, keys left out) of a single file; WeightsError naming what does not fit.

    Every tensor of a part without a configuration is left out.
    """
    patterns = layout.left_out
    for part in layout.parts:
        if part.name in configs:
            patterns += tuple(filled(pattern, configs[part.name]) for pattern in part.left_out)
        else:
            patterns += ("^" + re.escape(part.prefix),)
    return _accounted(stored, lambda key: key_today(layout, key), patterns, expected, where)


def key_today(layout: Layout, key: str) -> str:
    """A key of a single file as this layout has it today."""
    key = _renamed(layout.aliases, key)
    for part in layout.parts:
        if key.startswith(part.prefix):
            return part.prefix + _renamed(part.aliases, key.removeprefix(part.prefix))
    return key


def _renamed(aliases: tuple[tuple[str, str], ...], name: str) -> str:
    for pattern, new in aliases:
        name = re.sub(pattern, new, name, count=1)
    return name


def _accounted(
    stored: Iterable[StoredTensor], today: Callable[[str], str], patterns: tuple[str, ...],
    expected: Mapping[str, Shape], where: str,
) -> tuple[dict[str, StoredTensor], list[str]]:  # fmt: skip
    used: dict[str, StoredTensor] = {}
    left_out, faults = [], []
    needless = re.compile("|".join(patterns) or r"(?!)")
    for tensor in sorted(stored, key=lambda tensor: tensor.key not in expected):
        name = today(tensor.key)
        if (name not in expected and needless.search(name)) or (name in used and needless.search(tensor.key)):
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
