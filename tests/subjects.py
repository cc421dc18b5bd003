"""Makers of test subjects: fourteen pictures each, drawn by code or shipped with the package, and models that differ.

tea_box: real photographs of one thing. gadget: an invented object that no picture set has. woodcut: one style, many things.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw

import fsd

if TYPE_CHECKING:
    from fsd.data.session import Session

COUNT = 14
SIZE_PX = 384
BACKGROUNDS = (
    *("#f5f5f5", "#d22d2d", "#f0a030", "#f5d746", "#4ba550", "#3c6ed7", "#874bb4"),
    *("#f096be", "#7d5537", "#8c8c8c", "#202020", "#9fd0d8", "#e8dcc0", "#34506b"),
)


def tea_box(folder: Path) -> Path:
    """The demo's photographs of a real tea box, seen from many sides."""
    photos = Path(fsd.__file__).parent / "data" / "demo_photos"
    folder.mkdir(parents=True, exist_ok=True)
    for photo in photos.glob("*.jpg"):
        shutil.copy(photo, folder / photo.name)
    return folder


def gadget(folder: Path) -> Path:
    """An invented object on plain backgrounds, at several sizes, places and small tilts.

    A teal body with one large eye, orange bands, a magenta antenna with a yellow ball, and two stubby purple feet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(COUNT):
        side = round(SIZE_PX * (0.62 + 0.28 * _spread(index, 5)))
        sprite = _gadget_sprite(side).rotate(24 * _spread(index, 3) - 12, Image.Resampling.BICUBIC)
        if index % 2:
            sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        photo = Image.new("RGB", (SIZE_PX, SIZE_PX), BACKGROUNDS[index])
        free = SIZE_PX - side
        photo.paste(sprite, (round(free * _spread(index, 7)), round(free * _spread(index, 11))), sprite)
        photo.save(folder / f"gadget {index + 1:02d}.png")
    return folder


def woodcut(folder: Path) -> Path:
    """Fourteen things in one style: cream paper, black shapes hatched with white lines, a rust-red sun behind."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (name, draw) in enumerate(_THINGS.items()):
        shape = Image.new("L", (SIZE_PX, SIZE_PX), 0)
        draw(ImageDraw.Draw(shape), SIZE_PX)
        _print(shape, index).save(folder / f"woodcut {index + 1:02d} {name}.png")
    return folder


SUBJECTS: dict[str, Callable[[Path], Path]] = {"tea box": tea_box, "gadget": gadget, "woodcut": woodcut}


def train_a_little(session: Session) -> None:
    """Give a session finished checkpoints of both stages whose weights differ a little from the base's, without training."""
    import torch
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    from fsd.weights.base_folder import base_fingerprint
    from fsd.weights.checkpoint import save_checkpoint

    recipe = session.recipe()
    facts = {"run": {"base model": base_fingerprint(Path(recipe.base_model))}}
    kinds = {"text_encoder": CLIPTextModel, "unet": UNet2DConditionModel}
    for stage, kind in kinds.items():
        network = kind.from_pretrained(Path(recipe.base_model) / stage).float()
        random = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in network.parameters():
                weight += 0.3 * weight.std() * torch.randn(weight.shape, generator=random) if weight.numel() > 1 else 0
        steps = getattr(recipe, stage).steps
        write = lambda folder, network=network, stage=stage: network.save_pretrained(folder / stage)  # noqa: E731
        save_checkpoint(session.checkpoints, stage, steps, True, facts, write)


def _spread(index: int, step: int) -> float:
    """Numbers of 0 to 1 that a row of indices visits in a mixed order."""
    return (index * step % COUNT) / (COUNT - 1)


def _gadget_sprite(side: int) -> Image.Image:
    scale = 4
    size = side * scale
    sprite = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(sprite)

    def at(*numbers: float) -> list[float]:
        return [number * size for number in numbers]

    draw.rounded_rectangle(at(0.30, 0.84, 0.44, 0.96), size * 0.04, "#6a3d9a")
    draw.rounded_rectangle(at(0.56, 0.84, 0.70, 0.96), size * 0.04, "#6a3d9a")
    draw.line(at(0.50, 0.26, 0.62, 0.10), "#d4269b", round(size * 0.035))
    draw.ellipse(at(0.57, 0.02, 0.71, 0.16), "#ffd92f")
    draw.rounded_rectangle(at(0.20, 0.24, 0.80, 0.88), size * 0.22, "#1b9e9e")
    body = Image.new("L", (size, size))
    ImageDraw.Draw(body).rounded_rectangle(at(0.20, 0.24, 0.80, 0.88), size * 0.22, 255)
    bands = Image.new("L", (size, size))
    for top in (0.62, 0.74):
        ImageDraw.Draw(bands).rectangle(at(0.0, top, 1.0, top + 0.06), 255)
    sprite.paste("#f57c00", (0, 0), ImageChops.multiply(body, bands))
    draw.ellipse(at(0.32, 0.30, 0.68, 0.60), "#ffffff")
    draw.ellipse(at(0.44, 0.36, 0.60, 0.54), "#202020")
    draw.ellipse(at(0.46, 0.38, 0.51, 0.43), "#ffffff")
    return sprite.resize((side, side), Image.Resampling.LANCZOS)


def _print(shape: Image.Image, index: int) -> Image.Image:
    """The shape as if cut in wood: black on cream, white cuts on one side, a sun behind, a frame around."""
    size = shape.width
    paper = Image.new("RGB", shape.size, "#f1e3c4")
    draw = ImageDraw.Draw(paper)
    middle = size * (0.34 + 0.32 * _spread(index, 3))
    draw.ellipse((middle - size * 0.3, size * 0.12, middle + size * 0.3, size * 0.72), "#b5402a")
    for line in range(5):
        draw.line((0, size * (0.80 + 0.04 * line), size, size * (0.80 + 0.04 * line)), "#1c1a18", 3 + line)
    paper.paste("#1c1a18", (0, 0), shape)
    cuts = Image.new("L", shape.size)
    for start in range(-size, size, 14):
        ImageDraw.Draw(cuts).line((start, size, start + size, 0), 255, 4)
    lit = ImageChops.offset(shape, -size // 9, -size // 14)
    inner = ImageChops.multiply(shape, ImageChops.invert(lit))
    paper.paste("#f1e3c4", (0, 0), ImageChops.multiply(cuts, inner))
    draw.rectangle((0, 0, size - 1, size - 1), outline="#1c1a18", width=10)
    return paper


def _polygon(*points: tuple[float, float]) -> Callable[[ImageDraw.ImageDraw, int], None]:
    return lambda draw, size: draw.polygon([(x * size, y * size) for x, y in points], 255)


def _star(draw: ImageDraw.ImageDraw, size: int) -> None:
    rays = [(0.36 if turn % 2 == 0 else 0.15, math.pi * (turn / 5 - 0.5)) for turn in range(10)]
    draw.polygon([(size * (0.5 + r * math.cos(a)), size * (0.5 + r * math.sin(a))) for r, a in rays], 255)


def _parts(*parts: tuple[str, tuple[float, ...]]) -> Callable[[ImageDraw.ImageDraw, int], None]:
    """Ellipses (a chord is an upper half), rectangles and polygons, in shares of the picture's side."""

    def draw_parts(draw: ImageDraw.ImageDraw, size: int) -> None:
        for kind, numbers in parts:
            turn = {"start": 180, "end": 360} if kind == "chord" else {}
            getattr(draw, kind)([number * size for number in numbers], fill=255, **turn)

    return draw_parts


_THINGS: dict[str, Callable[[ImageDraw.ImageDraw, int], None]] = {
    "tree": _parts(("rectangle", (0.45, 0.5, 0.55, 0.85)), ("ellipse", (0.22, 0.15, 0.78, 0.65))),
    "house": _parts(("rectangle", (0.25, 0.45, 0.75, 0.85)), ("polygon", (0.17, 0.47, 0.5, 0.15, 0.83, 0.47))),
    "fish": _parts(("ellipse", (0.18, 0.35, 0.7, 0.68)), ("polygon", (0.62, 0.52, 0.88, 0.33, 0.88, 0.7))),
    "boat": _parts(
        ("polygon", (0.12, 0.62, 0.88, 0.62, 0.74, 0.82, 0.26, 0.82)), ("polygon", (0.5, 0.12, 0.5, 0.58, 0.8, 0.58))
    ),
    "star": _star,
    "mountain": _polygon((0.08, 0.85), (0.35, 0.3), (0.48, 0.52), (0.63, 0.2), (0.94, 0.85)),
    "cup": _parts(("rectangle", (0.25, 0.35, 0.65, 0.8)), ("ellipse", (0.55, 0.42, 0.83, 0.7))),
    "mushroom": _parts(("rectangle", (0.42, 0.5, 0.58, 0.85)), ("chord", (0.18, 0.18, 0.82, 0.9))),
    "bottle": _parts(("rectangle", (0.36, 0.4, 0.64, 0.86)), ("rectangle", (0.45, 0.14, 0.55, 0.45))),
    "bird": _parts(
        ("ellipse", (0.25, 0.4, 0.7, 0.7)),
        ("ellipse", (0.58, 0.26, 0.78, 0.46)),
        ("polygon", (0.76, 0.33, 0.9, 0.37, 0.76, 0.42)),
    ),
    "key": _parts(
        ("ellipse", (0.14, 0.34, 0.44, 0.64)),
        ("rectangle", (0.4, 0.45, 0.86, 0.53)),
        ("rectangle", (0.74, 0.5, 0.8, 0.66)),
    ),
    "heart": _parts(
        ("ellipse", (0.2, 0.2, 0.53, 0.53)),
        ("ellipse", (0.47, 0.2, 0.8, 0.53)),
        ("polygon", (0.22, 0.45, 0.78, 0.45, 0.5, 0.84)),
    ),
    "tower": _parts(
        ("polygon", (0.36, 0.85, 0.42, 0.3, 0.58, 0.3, 0.64, 0.85)), ("polygon", (0.36, 0.3, 0.5, 0.1, 0.64, 0.3))
    ),
    "moon": _polygon(
        *((0.5 + 0.34 * math.sin(a), 0.5 - 0.34 * math.cos(a)) for a in [k * math.pi / 20 - 0.4 for k in range(21)]),
        *(
            (0.42 + 0.24 * math.sin(a), 0.55 - 0.30 * math.cos(a))
            for a in [(20 - k) * math.pi / 20 - 0.4 for k in range(21)]
        ),
    ),
}
