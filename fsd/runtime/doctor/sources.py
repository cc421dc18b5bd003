"""What fsd downloads, as places that the doctor asks for: each with all its mirrors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from fsd.families import FAMILIES
from fsd.families.controlnets import CONTROLNETS
from fsd.families.family import Source
from fsd.families.preprocessors import PREPROCESSORS


@dataclass(frozen=True)
class Place:
    """A thing that is downloaded, and its mirrors in the order tried. kind: the group that it is counted in."""

    kind: str
    name: str
    urls: tuple[str, ...]


def known_places() -> list[Place]:
    """The base models, the ControlNets and their preprocessors' weights, each with all its mirrors."""
    places = [Place("base models", name, _addresses(family.sources)) for name, family in FAMILIES.items()]
    places += [Place("ControlNets", one.name, _addresses(one.sources)) for one in CONTROLNETS]
    every = (weights for several in PREPROCESSORS.values() for one in several for weights in one.weights)
    annotators = {weights.name: weights for weights in every}
    places += [Place("preprocessors", name, _addresses(one.sources)) for name, one in annotators.items()]
    return [place for place in places if place.urls]


def hub_address(source: Source) -> str:
    """The address of a source's file on the hub, of a folder's index otherwise."""
    file = source.file.name if source.file else "model_index.json"
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return f"{hub}/{source.repository}/resolve/{source.revision}/{quote(file)}"


def _addresses(sources: Iterable[Source]) -> tuple[str, ...]:
    return tuple(hub_address(source) for source in sources if not source.package)
