"""What a single-file layout is, as data: names in the folder, names in the file, and how tensors are cut and joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fsd.weights.outlines import Config, Outline
from fsd.weights.tensors import Shape


@dataclass(frozen=True)
class PartLayout:
    """One part of a Diffusers folder in a single file.

    renames: (Diffusers, single file), in order, at name boundaries; {i} and {j} are block and layer, the numbers that
    the right side may use are in `keys._numbers`. aliases: (regular expression, replacement), older names to today's;
    a tensor that is there under both names is read once. left_out: regular expressions of tensors that nobody needs.
    appended: dimensions added to a shape, for names that match. joined: ends of the keys that several tensors share,
    one below the other. swapped: names whose two halves change places. transposed: names of matrices turned over.
    repeated: (key, other key), what a file holds twice though once is enough to read.
    In left_out and swapped, {last} is the last of `num_layers` and {layers} is `num_hidden_layers`.
    """

    name: str
    prefix: str
    outline: Callable[[Config], Outline]
    renames: tuple[tuple[str, str], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    appended: tuple[tuple[str, Shape], ...] = ()
    joined: tuple[str, ...] = ()
    swapped: tuple[str, ...] = ()
    repeated: tuple[tuple[str, str], ...] = ()
    transposed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A single-file layout; its first part is the network that is trained.

    architecture: its name in modelspec metadata, from that network's configuration and the prediction type.
    implementation: the code that it was made for. left_out: keys of files that nobody needs. aliases: (regular
    expression, replacement) of whole keys. predictions: the prediction types that such a model may have.
    markers: for a prediction type, keys of empty tensors by which web UIs tell it. sidecar: whether they want a .yaml.
    """

    name: str
    architecture: Callable[[Config, str], str]
    implementation: str
    parts: tuple[PartLayout, ...]
    left_out: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    predictions: tuple[str, ...] = ("epsilon", "v_prediction")
    markers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    sidecar: bool = False

    @property
    def backbone(self) -> PartLayout:
        return self.parts[0]

    def names(self) -> tuple[str, ...]:
        """The parts' names."""
        return tuple(part.name for part in self.parts)
