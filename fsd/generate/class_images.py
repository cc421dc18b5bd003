"""Class images for prior preservation: made by the base model, so that training does not forget what it knew."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fsd.data.lock import writing
from fsd.data.names import photo_files
from fsd.data.session import Session
from fsd.families import get_family
from fsd.generate import images
from fsd.generate.images import Order
from fsd.generate.models import open_base
from fsd.generate.request import PictureRequest
from fsd.recipe import Recipe
from fsd.runtime import files, report


def make_class_images(session: Session) -> dict[str, Any]:
    """Make the class images that the recipe's number lacks; return {"made": count, "class_images": count, "folder": path}.

    Picture NNNN.png with its prompt in NNNN.txt is a function of the recipe, the base model and its number, so a run
    that was cut short goes on where it was. Pictures that the user put there count and are never touched.
    """
    recipe = session.recipe().checked()
    with writing(session):
        files.clear_temporary(session.class_images)
        own = [path for path in photo_files(session.class_images) if not images.saved_parameters(path)]
        own += photo_files(session.concept_images)
        wanted = max(0, recipe.prior.images - len(own))
        missing = _missing(session.class_images, recipe, wanted)
        if missing:
            _make(session.class_images, recipe, missing, wanted)
    return {
        "made": len(missing),
        "class_images": len(photo_files(session.class_images)),
        "folder": str(session.class_images),
    }


def class_order(recipe: Recipe, index: int) -> Order:
    """What class image `index` (from 0) is made from: the prompts in turn, each picture with a seed of its own."""
    prompts = recipe.prior.prompts or (recipe.class_prompt,)
    digest = hashlib.sha256(f"class image {recipe.seed} {index}".encode()).digest()
    return Order(prompts[index % len(prompts)], int.from_bytes(digest[:4]))


def _missing(folder: Path, recipe: Recipe, wanted: int) -> list[int]:
    """The numbers to make: absent ones, and ours made from another prompt or seed. A lost caption is written again."""
    missing = []
    for index in range(wanted):
        path, order = _path(folder, index), class_order(recipe, index)
        made_from = images.saved_parameters(path)
        if path.exists() and not made_from:
            continue  # the user's own
        if not made_from.startswith(f"{order.prompt}\n") or f"Seed: {order.seed}," not in made_from:
            missing.append(index)
        elif not path.with_suffix(".txt").exists():
            files.write_text(path.with_suffix(".txt"), order.prompt)
    return missing


def _make(folder: Path, recipe: Recipe, missing: list[int], wanted: int) -> None:
    """Make the missing numbers, in the company they would always have: a batch's size can change a picture's last bit."""
    sampling = PictureRequest().sampling(get_family(recipe.family), *PictureRequest().size(recipe))
    model = open_base(recipe)
    sampler = images.sampler_name(model.pipeline)
    at_once = images.pictures_at_once(model.pipeline, sampling)
    touched = {index // at_once for index in missing}
    indices = [index for index in range(wanted) if index // at_once in touched]
    report.say(f"making {len(missing)} class images with the base model")
    orders = [class_order(recipe, index) for index in indices]
    made = images.make_pictures(model.pipeline, orders, sampling, "class images")
    for index, (order, image) in zip(indices, made, strict=True):
        if index in missing:
            path = _path(folder, index)
            files.write_text(path.with_suffix(".txt"), order.prompt)
            images.save_png(image, path, images.settings_text(order, sampling, sampler, model.name))


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:04d}.png"
