"""What of a photo training sees: squares, buckets of its own aspect, and augmented copies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from PIL import Image, ImageDraw

from fsd.data.dataset import TrainingPhoto
from fsd.data.mask import subject_mask
from fsd.data.session import Session
from fsd.recipe import Recipe
from fsd.train import latents, lora, unet
from fsd.train.captions import ways_to_write
from fsd.train.prepare import run_stage
from fsd.train.view import bucket, views_of

RECIPE = Recipe(class_word="cup", resolution_px=512)


@pytest.fixture
def photo(tmp_path: Path) -> TrainingPhoto:
    """A wide photo, red on the left and blue on the right."""
    image = Image.new("RGB", (900, 600), "red")
    image.paste("blue", (450, 0, 900, 600))
    image.save(tmp_path / "wide.png")
    return TrainingPhoto(tmp_path / "wide.png", (150, 0, 600), "photo of sks cup, red, blue, wide")


def test_a_photo_is_one_square_unless_more_is_asked_for(photo: TrainingPhoto) -> None:
    [view] = views_of(photo, RECIPE)
    assert view.picture().size == (512, 512)
    assert view.area == (150, 0, 600, 600)


def test_copies_are_shifted_and_every_other_one_mirrored_always_the_same(photo: TrainingPhoto) -> None:
    recipe = RECIPE.changed(augment__copies=3)
    views = views_of(photo, recipe)
    assert [view.mirrored for view in views] == [False, True, False, True]
    assert len({view.area for view in views}) == 4
    assert all(abs(view.area[0] - 150) <= 48 and abs(view.area[1]) <= 48 for view in views)
    assert views == views_of(photo, recipe)
    assert views_of(photo, recipe.changed(seed=1))[1] != views[1]
    plain = views_of(photo, RECIPE.changed(augment__copies=1, augment__shift=False, augment__mirror=False))
    assert plain[0] == plain[1]
    left = views[1].picture().getpixel((5, 256))
    assert left[2] > 200 > left[0]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((600, 600), (512, 512)), ((900, 600), (640, 384)), ((600, 900), (384, 640)), ((9000, 600), (640, 384))],
)
def test_a_bucket_has_the_photos_aspect_and_no_more_pixels(size: tuple[int, int], expected: tuple[int, int]) -> None:
    found = bucket(size[0] / size[1], 512)
    assert found == expected
    assert found[0] * found[1] <= 512**2
    assert not any(side % 64 for side in found)


def test_in_a_bucket_nearly_all_of_the_photo_is_seen(photo: TrainingPhoto) -> None:
    [view] = views_of(photo, RECIPE.changed(buckets=True))
    assert view.picture().size == view.size_px == (640, 384)
    assert view.area[2] * view.area[3] > 0.85 * 900 * 600


def test_a_caption_is_written_in_other_orders_with_its_first_part_kept() -> None:
    recipe = RECIPE.changed(captions__shuffles=5)
    ways = ways_to_write("photo of sks cup, red, blue, wide", recipe, "a.png")
    assert ways[0] == "photo of sks cup, red, blue, wide"
    assert len(ways) == len(set(ways)) > 2
    assert all(way.startswith("photo of sks cup, ") for way in ways)
    assert all(sorted(way.split(", ")) == sorted(ways[0].split(", ")) for way in ways)
    assert ways_to_write("photo of sks cup", recipe, "a.png") == ["photo of sks cup"]


# --- masks -----------------------------------------------------------------------------------------------------------


def test_a_drawn_mask_is_cut_and_mirrored_with_the_photo(photo: TrainingPhoto, tmp_path: Path) -> None:
    drawn = tmp_path / "mask.png"
    mask = Image.new("L", (450, 300), "black")  # of half the photo's size
    mask.paste(255, (0, 0, 225, 300))
    mask.save(drawn)
    masked = replace(photo, mask=drawn)
    first, mirrored = views_of(masked, RECIPE.changed(mask__of="drawn", augment__copies=1, augment__shift=False))
    assert first.outside == mirrored.outside == 0.1
    for view, red_x in ((first, 100), (mirrored, 400)):
        assert view.picture().getpixel((red_x, 256))[0] > 200
        assert view.mask().getpixel((red_x, 256)) == 255
        assert view.mask().getpixel((512 - red_x, 256)) == 0
    assert views_of(masked, RECIPE)[0].key() != first.key()


def test_the_subject_is_found_and_its_places_count_more(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 200), (120, 140, 120))
    ImageDraw.Draw(image).ellipse((110, 50, 190, 150), fill=(220, 30, 30))
    image.save(tmp_path / "ball.png")
    photo = TrainingPhoto(tmp_path / "ball.png", (50, 0, 200), "photo of sks ball")
    [view] = views_of(photo, RECIPE.changed(mask__of="subject", resolution_px=64, mask__outside=0.25))
    mask = np.asarray(view.mask())
    assert mask[32, 32] == 255
    assert mask[:8].max() == mask[:, :8].max() == 0
    weights = latents._weights(view, (8, 8))
    assert weights.mean().item() == pytest.approx(1.0)
    assert weights[0, 4, 4] == pytest.approx(4 * weights[0, 0, 0].item())
    assert latents._weights(replace(view, outside=1.0), (8, 8)).eq(1).all()


def test_a_photo_without_a_subject_counts_everywhere() -> None:
    assert set(subject_mask(Image.new("RGB", (90, 60), "grey")).getdata()) == {255}


def train_a_stage(folder: Path, stage: str) -> dict:
    AcceleratorState._reset_state(reset_partial_state=True)
    return run_stage([str(folder)], stage, {"unet": unet.build, "lora": lora.build}[stage])


@pytest.mark.parametrize("stage", ["unet", "lora"])
def test_masks_change_what_is_learned(micro_session: Session, stage: str) -> None:
    recipe = micro_session.recipe().changed(method="full" if stage == "unet" else "lora", unet__steps=2, lora__steps=2)
    micro_session.save_recipe(recipe)
    plain = micro_session.folder.with_name("plain")
    shutil.copytree(micro_session.folder, plain)
    micro_session.masks.mkdir()
    half = Image.new("L", (64, 64), "black")
    half.paste(255, (0, 0, 32, 64))
    half.save(micro_session.masks / "IMG_0001.png")
    micro_session.save_recipe(recipe.changed(mask__of="drawn", mask__outside=0.0))
    results = [train_a_stage(Path(folder), stage)["loss"] for folder in (plain, micro_session.folder)]
    assert results[0] != results[1]
