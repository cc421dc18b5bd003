"""Class images for prior preservation: made by the base model, so that training does not forget what it knew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from fsd.data.concept import class_prompts, recipes_of
from fsd.data.lock import writing
from fsd.data.names import photo_files
from fsd.data.session import Session
from fsd.families import get_family
from fsd.generate import images
from fsd.generate.images import Order, Sampling
from fsd.generate.request import PictureRequest
from fsd.recipe import Recipe
from fsd.runtime import files, report
from fsd.runtime.space import need_room, pictures_need
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.base_model import find_base_model

MARK = "fsd class image"
"""The text in a PNG by which we know one that we made; its value is a digest of everything that it was made from."""


@dataclass(frozen=True)
class _Work:
    """What is to be done until there are as many class images as the recipe wants, each made as it says.

    surplus: pictures of ours that are too many. orders: of all that are ours to have, by number. missing: the marks of
    those that are absent or made from something else. bare: the numbers whose captions are lost.
    """

    surplus: set[Path]
    orders: dict[int, Order]
    missing: dict[int, str]
    bare: list[int]


def class_images_are_there(session: Session) -> bool:
    """Whether `make_class_images` would do nothing; this loads no PyTorch."""
    work = _work(session, session.recipe().checked())
    return not (work.surplus or work.missing or work.bare)


def make_class_images(session: Session) -> dict[str, Any]:
    """Make the class images that the recipe's number lacks; return {"made": count, "class_images": count, "folder": path}.

    Picture NNNN.png with its prompt in NNNN.txt is a function of the recipe, the base model and its number, so a run
    that was cut short goes on where it was. Pictures that the user put there count and are never touched; of ours only
    as many stay as they leave to make.
    """
    recipe = session.recipe().checked()
    folder = session.class_images
    with writing(session):
        files.clear_temporary(folder)
        work = _work(session, recipe)
        _remove(work.surplus)
        for number in work.bare:
            files.write_text(_path(folder, number).with_suffix(".txt"), work.orders[number].prompt)
        if work.missing:
            _make(folder, recipe, work.orders, work.missing)
    return {"made": len(work.missing), "class_images": len(photo_files(folder)), "folder": str(folder)}


def class_order(recipes: Sequence[Recipe], index: int) -> Order:
    """What class image `index` (from 0) is made from: the prompts in turn, each picture with a seed of its own.

    recipes: the session's, as it speaks of each subject.
    """
    prompts = class_prompts(recipes)
    digest = hashlib.sha256(f"class image {recipes[0].seed} {index}".encode()).digest()
    return Order(prompts[index % len(prompts)], int.from_bytes(digest[:4]))


def _remove(pictures: Iterable[Path]) -> None:
    """Delete pictures of ours with their captions, unless those were written by somebody else."""
    for path in pictures:
        caption, prompt = path.with_suffix(".txt"), images.saved_text(path).partition("\n")[0]
        if caption.exists() and caption.read_bytes() == prompt.encode():
            caption.unlink()
        path.unlink()


def _work(session: Session, recipe: Recipe) -> _Work:
    folder = session.class_images
    ours = {path for path in photo_files(folder) if images.saved_text(path, MARK)}
    own = [path for path in photo_files(folder) + photo_files(session.concept_images) if path not in ours]
    taken = {path.stem for path in own}
    free = (number for number in count() if _path(folder, number).stem not in taken)
    numbers = list(islice(free, max(0, recipe.prior.images - len(own))))
    surplus = ours - {_path(folder, number) for number in numbers}
    if not numbers:
        return _Work(surplus, {}, {}, [])
    sampling, recipes = _sampling(recipe), recipes_of(session, recipe)
    base = base_fingerprint(find_base_model(recipe.base_model or recipe.family))
    orders = {number: class_order(recipes, number) for number in numbers}
    marks = {number: _mark(order, sampling, base) for number, order in orders.items()}
    missing = {number: mark for number, mark in marks.items() if images.saved_text(_path(folder, number), MARK) != mark}
    there = [number for number in numbers if number not in missing]
    bare = [number for number in there if not _path(folder, number).with_suffix(".txt").exists()]
    return _Work(surplus, orders, missing, bare)


def _sampling(recipe: Recipe) -> Sampling:
    return PictureRequest().sampling(get_family(recipe.family), recipe.resolution_px)


def _make(folder: Path, recipe: Recipe, orders: dict[int, Order], missing: dict[int, str]) -> None:
    """Make the missing numbers, in the company they would always have: a batch's size can change a picture's last bit."""
    from fsd.generate.models import open_base

    sampling = _sampling(recipe)
    room = pictures_need("class images", folder, len(missing), sampling.width_px, sampling.height_px)
    need_room([room])
    model = open_base(recipe)
    sampler = images.sampler_name(model.pipeline)
    at_once = images.pictures_at_once(model.pipeline, sampling)
    numbers = list(orders)
    batches = [numbers[start : start + at_once] for start in range(0, len(numbers), at_once)]
    touched = [number for batch in batches if missing.keys() & set(batch) for number in batch]
    report.say(f"making {len(missing)} class images with the base model")
    made = images.make_pictures(model.pipeline, [orders[number] for number in touched], sampling, "class images")
    for number, (order, image) in zip(touched, made, strict=True):
        if number in missing:
            path = _path(folder, number)
            files.write_text(path.with_suffix(".txt"), order.prompt)
            parameters = images.settings_text(order, sampling, sampler, model.name)
            images.save_png(image, path, {"parameters": parameters, MARK: missing[number]})


def _mark(order: Order, sampling: Sampling, base: str) -> str:
    return hashlib.sha256(f"{order} {sampling} {base}".encode()).hexdigest()[:16]


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.png"
