"""The studio's form on the real engine: from a picture, painted in, following another picture, stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_studio import PAGE, form
from tiny_controlnet import make_controlnet

from fsd.webui.engine import Engine, Picture, Progress
from fsd.webui.studio.form import OWN_SAMPLER

SIZE = (64, 64)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("root"))
    yield made
    made.stop()


@pytest.fixture
def photo(tmp_path: Path) -> str:
    image = Image.new("RGB", SIZE, "navy")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="gold")
    image.save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def made(engine: Engine, folder: Path, model: Path, **changed: Any) -> tuple[np.ndarray, str]:
    """(pixels, settings) of the one picture that such a form gives."""
    plain = {"model": str(model), "size": "64 × 64", "images": 1, "steps": 4, "sampler": OWN_SAMPLER}
    (picture,) = [event for event in engine.run(form(**plain | changed).job(folder)) if isinstance(event, Picture)]
    return pixels(str(picture.path)), picture.infotext


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_picture_is_the_start_of_another_one(engine: Engine, tmp_path: Path, micro_model: Path, photo: str) -> None:
    ask = {"mode": "Image to image", "init_image": photo}
    near, settings = made(engine, tmp_path, micro_model, **ask, strength=0.25)
    far, _ = made(engine, tmp_path, micro_model, **ask, strength=1.0)
    assert "Denoising strength: 0.25" in settings
    assert np.abs(near - far).mean() > 1 and near.shape == (64, 64, 3)


def test_only_what_was_brushed_over_is_painted_anew(
    engine: Engine, tmp_path: Path, micro_model: Path, photo: str
) -> None:
    layer = Image.new("RGBA", SIZE)
    ImageDraw.Draw(layer).rectangle((0, 0, 23, 63), fill="white")
    layer.save(tmp_path / "layer.png")
    painted = {"background": photo, "layers": [str(tmp_path / "layer.png")], "composite": photo}
    picture, _ = made(engine, tmp_path, micro_model, mode="Inpainting", painted=painted, strength=1.0)
    changed = np.abs(picture - pixels(photo)).max(axis=2)
    assert changed[:, 40:].max() <= 2 and changed[:, :16].mean() > 5


def test_a_controlnet_is_followed_and_shows_what_it_sees(
    engine: Engine, tmp_path: Path, micro_model: Path, photo: str
) -> None:
    from fsd.webui.studio.create import CreateTab

    gr = pytest.importorskip("gradio")
    with gr.Blocks():
        create = CreateTab(engine)
    control = str(make_controlnet(tmp_path / "canny", micro_model))
    plain, _ = made(engine, tmp_path, micro_model)
    ask = form(
        model=str(micro_model), size="64 × 64", images=1, steps=4, sampler=OWN_SAMPLER, control=control,
        control_image=photo, preprocessor="canny",
    )  # fmt: skip
    shown = list(create._run(PAGE, *vars(ask).values()))
    (seen,) = [step[4]["value"] for step in shown if step[4].get("value")]
    assert set(np.unique(pixels(seen[0]))) == {0, 255}
    ((path, settings, _),) = shown[-1][3]
    assert np.abs(pixels(path) - plain).mean() > 1 and "canny" in settings


def test_stop_ends_a_long_job(engine: Engine, tmp_path: Path, micro_model: Path) -> None:
    job = form(model=str(micro_model), size="64 × 64", images=16, steps=100, sampler=OWN_SAMPLER).job(tmp_path)
    last = Progress(0, 0)
    for event in engine.run(job):
        if isinstance(event, Progress) and event.total:
            if not last.total:
                engine.cancel()
            last = event
    assert last.total == 1600 and last.done < 1600
