"""What of a photo training sees: squares, buckets of its own aspect, and augmented copies."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fsd.data.dataset import TrainingPhoto
from fsd.recipe import Recipe
from fsd.train.captions import ways_to_write
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
