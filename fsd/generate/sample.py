"""Pictures of a session's model, in a process of its own: `python -m fsd.generate.sample SESSION_FOLDER ...`.

--request JSON: what `PictureRequest` holds. --training-samples CHECKPOINT: the samples of a checkpoint, for the training
loop. --class-images: the class images that prior preservation still lacks.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

from PIL import Image

from fsd.data.concept import recipes_of
from fsd.data.session import Session, open_session_folder
from fsd.errors import SessionError
from fsd.families import get_family
from fsd.generate import grid, images
from fsd.generate.class_images import make_class_images
from fsd.generate.images import Order, Sampling
from fsd.generate.models import Model, open_base, open_model
from fsd.generate.request import PictureRequest
from fsd.runtime.child import stage_main
from fsd.runtime.files import make_folder
from fsd.runtime.space import need_room, pictures_need


def main(arguments: list[str]) -> dict[str, Any]:
    """What the process does, by its one option."""
    parser = argparse.ArgumentParser(prog="fsd.generate.sample")
    parser.add_argument("session", type=Path)
    option = parser.add_mutually_exclusive_group(required=True)
    option.add_argument("--request", metavar="JSON")
    option.add_argument("--training-samples", metavar="CHECKPOINT")
    option.add_argument("--class-images", action="store_true")
    asked = parser.parse_args(arguments)
    session = open_session_folder(asked.session)
    if asked.class_images:
        return make_class_images(session)
    if asked.training_samples:
        return training_samples(session, asked.training_samples)
    return make(session, PictureRequest.from_json(asked.request))


def make(session: Session, request: PictureRequest) -> dict[str, Any]:
    """Make the pictures asked for, in a new folder; return {"images": [path...], "grid": path}, by prompt, then by seed.

    To compare, those of the untrained model follow each prompt's.
    """
    recipe = session.recipe().checked()
    destination = Path(request.destination).expanduser() if request.destination else session.samples / "pictures"
    if destination.exists() and not destination.is_dir():
        raise SessionError(f"{destination} is a file, not a folder for pictures", "choose another destination")
    prompts = request.prompts or (recipe.prompt(),)
    orders = [Order(prompt, seed, request.negative) for prompt in prompts for seed in request.seeds]
    sampling = request.sampling(get_family(recipe.family), recipe.resolution_px)
    compare = request.compare and request.model != "base"
    count = (4 if compare else 2) * len(orders)  # each is in the grid, too
    need_room([pictures_need("pictures", destination, count, sampling.width_px, sampling.height_px)])
    model = open_model(session, recipe, request.model)
    folder = _new_folder(destination)
    named = [f"{number:02d}-{_slug(prompt)}" for number, prompt in enumerate(prompts, 1)]
    paths = [folder / f"{name}-{seed}.png" for name in named for seed in request.seeds]
    made = _make_files(model, orders, sampling, paths)
    if compare:
        del model  # two may not fit the GPU
        plain = [path.with_stem(f"{path.stem}-untrained") for path in paths]
        drawn = _make_files(open_base(recipe), orders, sampling, plain, "pictures by the base model")
        prompts = tuple(label for prompt in prompts for label in (prompt, f"{prompt} (untrained)"))
        count = len(request.seeds)
        made, paths = _by_turns(made, drawn, count), _by_turns(paths, plain, count)
    images.save_png(grid.prompts_by_seeds(prompts, request.seeds, made), folder / "grid.png")
    return {"images": [str(path) for path in paths], "grid": str(folder / "grid.png")}


def _by_turns(first: Sequence[Any], second: Sequence[Any], count: int) -> list[Any]:
    """So many of the first, as many of the second, and so on."""
    starts = range(0, len(first), count)
    return [one for at in starts for some in (first, second) for one in some[at : at + count]]


def training_samples(session: Session, checkpoint: str) -> dict[str, Any]:
    """Make a checkpoint's samples, samples/CHECKPOINT/NN.png and grid.png, as the recipe says; return their paths.

    Where it names no prompts, four pictures of the session's subjects in turn.
    """
    recipe = session.recipe().checked()
    folder = session.samples / checkpoint
    subjects = [one.prompt() for one in islice(cycle(recipes_of(session, recipe)), 4)]
    prompts = [recipe.prompt(prompt) for prompt in recipe.samples.prompts] or subjects
    orders = [Order(prompt, recipe.samples.seed + index) for index, prompt in enumerate(prompts)]
    sampling = PictureRequest().sampling(get_family(recipe.family), recipe.resolution_px)
    model = open_model(session, recipe, checkpoint)
    paths = [folder / f"{number:02d}.png" for number in range(1, len(orders) + 1)]
    made = _make_files(model, orders, sampling, paths)
    images.save_png(grid.in_rows(made, [order.prompt for order in orders]), folder / "grid.png")
    return {"images": [str(path) for path in paths], "grid": str(folder / "grid.png")}


def _make_files(
    model: Model, orders: Sequence[Order], sampling: Sampling, paths: Sequence[Path], label: str = "pictures"
) -> list[Image.Image]:
    made = []
    sampler = images.sampler_name(model.pipeline)
    for path, (order, image) in zip(paths, images.make_pictures(model.pipeline, orders, sampling, label), strict=True):
        images.save_png(image, path, {"parameters": images.settings_text(order, sampling, sampler, model.name)})
        made.append(image)
    return made


def _new_folder(inside: Path) -> Path:
    """A folder of its own in `inside`, numbered on from those that are there: 0001, 0002 and so on."""
    make_folder(inside)
    numbers = [int(path.name) for path in inside.iterdir() if path.name.isdecimal()]
    for number in count(max(numbers, default=0) + 1):
        with suppress(FileExistsError):  # another process had the same thought
            folder = inside / f"{number:04d}"
            folder.mkdir()
            break
    return folder


def _slug(prompt: str) -> str:
    """The prompt's words as a part of a file name."""
    return re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:60] or "picture"


if __name__ == "__main__":
    stage_main(main)
