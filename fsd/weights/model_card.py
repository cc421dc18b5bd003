"""The README of a model on the hub: base model, licence, settings and samples. Nothing of the machine's paths is in it.

Its front matter follows https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fsd import __version__
from fsd.errors import FsdError
from fsd.families import FAMILIES, get_family
from fsd.families.family import Source
from fsd.families.licences import LICENCES, OTHER
from fsd.recipe import Recipe
from fsd.runtime.web import shown
from fsd.weights.links import is_link, read_link

_HUB = "https://huggingface.co"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class _Base:
    """The base model as others may read it. repository: on the hub, or "". own: whether it is its family's own."""

    shown: str
    repository: str
    own: bool


@dataclass(frozen=True)
class _Kind:
    """What a method makes. library, tag, relation: the hub's words for it. what, file, changed: in sentences."""

    library: str
    tag: str
    relation: str
    what: str
    file: str
    changed: str


_KINDS = {
    "full": _Kind(
        "diffusion-single-file", "dreambooth", "finetune", "{family} that was taught one subject, `{subject}`, with DreamBooth.",
        "the whole model in one file", "The weights are those of the base model, changed by training.",
    ),
    "lora": _Kind(
        "diffusers", "lora", "adapter", "A LoRA for {family} that was taught one subject, `{subject}`.",
        "a LoRA of rank {rank} in kohya's form, for AUTOMATIC1111, Forge, ComfyUI and Diffusers",
        "The LoRA was trained on the base model.",
    ),
}  # fmt: skip


def model_card(name: str, recipe: Recipe, file: str, made_of: str, samples: tuple[str, ...] = ()) -> str:
    """The card in the hub's form (YAML between dashes, then Markdown).

    name: the model's. file: its name there. made_of: which steps are in it. samples: pictures' names there.
    """
    family, base, kind = get_family(recipe.family), _base_model(recipe), _KINDS[recipe.method]
    subject = recipe.prompt("{identifier} {class}")
    head = _licence_fields(recipe, base) | {
        "pipeline_tag": "text-to-image",
        "library_name": kind.library,
        "tags": ["text-to-image", kind.tag, family.name],
        "instance_prompt": recipe.prompt(),
    }
    if base.repository:
        head |= {"base_model": base.repository, "base_model_relation": kind.relation}
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()), "---"]
    lines += ["", f"# {name}", "", kind.what.format(family=family.title, subject=subject), ""]
    lines += [f"- File: `{file}`, {kind.file.format(rank=recipe.lora.rank)}"]
    lines += [f"- Trigger words: `{subject}`, as in the prompt `{recipe.prompt()}`"]
    lines += [f"- Base model: {base.shown}", f"- Trained: {made_of}, at {recipe.resolution_px} px"]
    lines += ["", "## Licence", "", _licence_text(recipe, base), ""]
    if samples:
        lines += ["## Samples", "", *(f"![pictures made with it]({quote(sample)})" for sample in samples), ""]
    settings = json.dumps(recipe.to_json() | {"base_model": base.shown}, indent=2, ensure_ascii=False)
    lines += ["## Settings", "", "```json", settings, "```", "", f"Made with fsd {__version__}.", ""]
    return "\n".join(lines)


def _licence_fields(recipe: Recipe, base: _Base) -> dict[str, Any]:
    """The licence as the hub's front matter wants it; of a base model that is not its family's own it is not known."""
    if not base.own:
        page = {"license_link": f"{_HUB}/{base.repository}"} if base.repository else {}
        return {"license": OTHER, "license_name": "that-of-the-base-model"} | page
    licence = LICENCES[get_family(recipe.family).licence]
    more = {"license_name": licence.name, "license_link": licence.link} if licence.hub == OTHER else {}
    return {"license": licence.hub} | more


def _licence_text(recipe: Recipe, base: _Base) -> str:
    family = get_family(recipe.family)
    licence = LICENCES[family.licence]
    known = f"[{family.licence}]({licence.link})"
    changed = _KINDS[recipe.method].changed
    if base.own:
        return f"That of the base model: {known}. {changed} {licence.terms}"
    return (
        f"That of the base model, whose page tells it. {changed} "
        f"If it was made from {family.title}, as most of this kind are, this holds too: {known}. {licence.terms}"
    )


def _base_model(recipe: Recipe) -> _Base:
    """A hub repository, a link without its query, else a file's name alone."""
    spec = recipe.base_model or recipe.family
    if spec in FAMILIES:
        repository = next((source.repository for source in FAMILIES[spec].sources if not source.package), "")
        return _Base(repository or FAMILIES[spec].title, repository, True)
    if Path(spec).is_absolute() or not (is_link(spec) or _REPOSITORY.fullmatch(spec.partition("@")[0])):
        return _Base(Path(spec).name, "", False)
    repository = _on_the_hub(spec)
    own = any(source.repository == repository for source in get_family(recipe.family).sources)
    return _Base(shown(spec) if is_link(spec) else spec, repository, own)


def _on_the_hub(spec: str) -> str:
    """The repository of a spec that is a link or OWNER/NAME@REVISION; "" for a link to elsewhere."""
    if not is_link(spec):
        return spec.partition("@")[0]
    try:
        place = read_link(spec)
    except FsdError:  # one that was accepted by another release
        return ""
    return place.repository if isinstance(place, Source) else ""
