"""The README of a model on the hub: base model, licence, settings and samples. Nothing of the machine's paths is in it."""

from __future__ import annotations

import json
from pathlib import Path

from fsd import __version__
from fsd.families import FAMILIES, get_family
from fsd.recipe import Recipe


def model_card(name: str, recipe: Recipe, ckpt: str, samples: tuple[str, ...] = ()) -> str:
    """The card in the hub's form (YAML between dashes, then Markdown).

    name: the model's. ckpt: its file's name there. samples: pictures' names there.
    """
    family = get_family(recipe.family)
    base = _base_model(recipe)
    head = {
        "license": "other",
        "license_name": family.licence,
        "tags": ["stable-diffusion", "dreambooth", "text-to-image", family.name],
        "instance_prompt": recipe.prompt(),
    } | ({"base_model": base} if base.count("/") == 1 and "://" not in recipe.base_model else {})
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()), "---"]
    lines += ["", f"# {name}", "", f"{family.title}, trained on photos of “{recipe.prompt()}” with DreamBooth.", ""]
    lines += [f"- File: `{ckpt}`", f"- Prompt: `{recipe.prompt()}`", f"- Base model: {base}"]
    lines += [f"- Licence: that of the base model, {family.licence}", f"- Resolution: {recipe.resolution_px} px"]
    lines += [f"- Steps: text encoder {recipe.text_encoder.steps}, UNet {recipe.unet.steps}", ""]
    if samples:
        lines += ["## Samples", "", *(f"![sample]({sample})" for sample in samples), ""]
    settings = json.dumps(recipe.to_json() | {"base_model": base}, indent=2, ensure_ascii=False)
    lines += ["## Settings", "", "```json", settings, "```", "", f"Made with fsd {__version__}.", ""]
    return "\n".join(lines)


def _base_model(recipe: Recipe) -> str:
    """The base model as others may read it: a hub repository, a link without its query, else a file's name alone."""
    if recipe.base_model in FAMILIES:
        sources = [source.repository for source in FAMILIES[recipe.base_model].sources if not source.package]
        return sources[0] if sources else FAMILIES[recipe.base_model].title
    if "://" in recipe.base_model:
        return recipe.base_model.partition("?")[0].rpartition("@")[2]
    path = Path(recipe.base_model)
    return path.name if path.is_absolute() or path.exists() else recipe.base_model
