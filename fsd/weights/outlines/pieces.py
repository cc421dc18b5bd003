"""What outlines are made of: layers as names and shapes, and what a configuration must or must not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsd.errors import WeightsError
from fsd.weights.tensors import Shape

Config = Mapping[str, Any]
Outline = dict[str, Shape]


def norm(stem: str, width: int) -> Outline:
    """A normalisation with weight and bias."""
    return {f"{stem}.weight": (width,), f"{stem}.bias": (width,)}


def linear(stem: str, outputs: int, inputs: int) -> Outline:
    """A linear layer with bias."""
    return {f"{stem}.weight": (outputs, inputs), f"{stem}.bias": (outputs,)}


def conv(stem: str, outputs: int, inputs: int, kernel: int = 3) -> Outline:
    """A convolution with bias."""
    return {f"{stem}.weight": (outputs, inputs, kernel, kernel), f"{stem}.bias": (outputs,)}


def resnet(stem: str, inputs: int, outputs: int, time: int = 0) -> Outline:
    """A residual block; time: the width of the time embedding, 0 without one."""
    found = norm(f"{stem}.norm1", inputs) | conv(f"{stem}.conv1", outputs, inputs)
    found |= norm(f"{stem}.norm2", outputs) | conv(f"{stem}.conv2", outputs, outputs)
    if time:
        found |= linear(f"{stem}.time_emb_proj", outputs, time)
    return found if inputs == outputs else found | conv(f"{stem}.conv_shortcut", outputs, inputs, 1)


def layers_of(config: Config) -> int:
    """`layers_per_block`; WeightsError when it is not one number."""
    layers = config.get("layers_per_block", 2)
    if type(layers) is not int:
        raise WeightsError(f"layers_per_block is {layers!r}, not one number", "this kind of model cannot be converted")
    return layers


def only(config: Config, setting: str, known: set[str]) -> None:
    """WeightsError when a setting lists anything but `known`."""
    if others := set(config[setting]) - known:
        raise WeightsError(f"{setting} holds {', '.join(sorted(others))}", f"known are {', '.join(sorted(known))}")


def without(config: Config, *settings: str) -> None:
    """WeightsError when one of these settings is set."""
    for setting in settings:
        if config.get(setting) is not None:
            what = f"{setting} is {config[setting]!r}, which this layout has not"
            raise WeightsError(what, "this model is of another kind")
