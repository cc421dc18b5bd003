"""Crops: no face is cut, on photographs that packages carry; boxes by hand; the contact sheet."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fsd.data.box import centre_box, rescaled
from fsd.data.contact_sheet import contact_sheet
from fsd.data.crop import Crop, best_crop, crop_photos, read_crops, set_box
from fsd.data.dataset import training_photos
from fsd.data.decode import MAX_SIDE_PX, open_photo, opened_size
from fsd.data.faces import Area, find_faces
from fsd.data.framing import around_faces
from fsd.data.photos import add_photos
from fsd.data.session import Session, create
from fsd.errors import SessionError
from fsd.recipe import Recipe


def carried(package: str, inner: str) -> Image.Image:
    """A photograph that an installed package carries; the package itself is not imported."""
    found = find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed")
    return open_photo(Path(found.origin).parent / inner)


def astronaut() -> Image.Image:
    return carried("skimage", "data/astronaut.png")


def holds(crop: Crop, face: Area) -> bool:
    left, top, side = crop.box
    return left <= face[0] and top <= face[1] and face[2] <= left + side and face[3] <= top + side


def in_photo(crop: Crop, photo: Image.Image) -> bool:
    left, top, side = crop.box
    return left >= 0 and top >= 0 and side >= 1 and left + side <= photo.width and top + side <= photo.height


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = create(tmp_path, "s")
    made.save_recipe(Recipe(family="tiny", resolution_px=64))
    source = tmp_path / "in"
    source.mkdir()
    for number, size in enumerate([(120, 80), (80, 120), (100, 100)]):
        image = Image.new("RGB", size, "gray")
        ImageDraw.Draw(image).ellipse((10 * number, 10, 60, 50), fill=(200, 40 * number, 0))
        image.save(source / f"{number}.png")
    add_photos(made, source, hold_out=1)
    return made


FACES = ["skimage:data/astronaut.png", "skimage:data/camera.png", "gradio:media_assets/images/groot.jpeg"]


@pytest.mark.parametrize("name", FACES)
def test_the_face_of_a_carried_photograph_is_kept(name: str) -> None:
    photo = carried(*name.split(":"))
    faces = find_faces(photo)
    assert len(faces) == 1
    crop = best_crop(photo, 512)
    assert crop.by == "face"
    assert in_photo(crop, photo)
    assert holds(crop, faces[0])


OTHERS = [
    "skimage:data/chelsea.png",
    "skimage:data/coffee.png",
    "skimage:data/rocket.jpg",
    "skimage:data/motorcycle_left.png",
]
OTHERS += ["sklearn:datasets/images/china.jpg", "sklearn:datasets/images/flower.jpg"]
OTHERS += [f"gradio:media_assets/images/{name}.jpg" for name in ("cheetah", "cheetah1", "lion", "tower")]


@pytest.mark.parametrize("name", OTHERS)
def test_photographs_without_a_face_show_their_subject(name: str) -> None:
    photo = carried(*name.split(":"))
    crop = best_crop(photo, 512)
    assert (crop.by, crop.box[2]) == ("saliency", min(photo.size))
    assert in_photo(crop, photo)
    assert best_crop(photo, 512) == crop


SUBJECTS = {  # (left, right) edges, in pixels, of what each photograph is about
    "skimage:data/coffee.png": (150, 480),
    "skimage:data/chelsea.png": (110, 350),
    "sklearn:datasets/images/china.jpg": (80, 330),
    "sklearn:datasets/images/flower.jpg": (165, 450),
    "gradio:media_assets/images/cheetah.jpg": (85, 380),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_subject_is_inside(name: str) -> None:
    photo = carried(*name.split(":"))
    left, _, side = best_crop(photo, 512).box
    assert left <= SUBJECTS[name][0] + 25
    assert SUBJECTS[name][1] - 25 <= left + side


@pytest.mark.parametrize("place", ["left", "middle", "right", "top", "bottom"])
def test_a_face_anywhere_is_kept_with_room(place: str) -> None:
    person = astronaut().crop((100, 0, 400, 300))
    wide = place in ("left", "middle", "right")
    canvas = Image.new("RGB", (1200, 300) if wide else (300, 1200), (90, 120, 140))
    offset = {"left": 0, "middle": 450, "right": 900, "top": 0, "bottom": 900}[place]
    canvas.paste(person, (offset, 0) if wide else (0, offset))
    crop = best_crop(canvas, 64)
    face = find_faces(canvas)[0]
    assert crop.by == "face"
    assert in_photo(crop, canvas)
    assert holds(crop, face)
    width = face[2] - face[0]
    roomy = (face[0] - 0.35 * width, face[1], face[2] + 0.35 * width, face[3])
    assert holds(crop, roomy)


def test_several_faces_stay_together_where_they_fit() -> None:
    person = astronaut().crop((120, 0, 370, 250))
    canvas = Image.new("RGB", (1000, 500), (90, 120, 140))
    canvas.paste(person, (80, 100))
    canvas.paste(person, (330, 100))
    crop = best_crop(canvas, 64)
    faces = find_faces(canvas)
    assert len(faces) == 2
    assert all(holds(crop, face) for face in faces)


def test_a_face_that_does_not_fit_is_left_out_not_cut() -> None:
    person = astronaut().crop((150, 0, 350, 200))
    canvas = Image.new("RGB", (900, 300), (90, 120, 140))
    canvas.paste(person.resize((300, 300)), (60, 0))
    canvas.paste(person, (330, 60))
    crop = best_crop(canvas, 64)
    largest, *others = find_faces(canvas)
    assert holds(crop, largest)
    for face in others:
        left, right = crop.box[0], crop.box[0] + crop.box[2]
        assert holds(crop, face) or face[0] >= right or face[2] <= left


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_square_moves_aside_for_another_face(mirrored: bool) -> None:
    faces, box = [(100.0, 100.0, 220.0, 240.0), (306.0, 120.0, 366.0, 200.0)], (6, 0, 300)
    if mirrored:
        faces, box = [(900 - right, top, 900 - left, bottom) for left, top, right, bottom in faces], (594, 0, 300)
    assert around_faces(faces, (900, 300), 64) == box


def test_a_small_face_is_brought_near() -> None:
    canvas = Image.new("RGB", (2400, 1800), (90, 120, 140))
    canvas.paste(astronaut().crop((120, 0, 370, 250)), (1000, 700))
    crop = best_crop(canvas, 512)
    assert 512 <= crop.box[2] < 1300
    assert holds(crop, find_faces(canvas)[0])
    assert best_crop(canvas, 1024).box[2] >= 1024


def test_a_face_that_fills_the_photo() -> None:
    close = astronaut().crop((175, 60, 275, 180)).resize((600, 720))
    crop = best_crop(close, 512)
    assert crop.box[2] == 600
    assert in_photo(crop, close)


def test_a_group_photograph_cuts_no_face() -> None:
    photo = carried("insightface", "data/images/t1.jpg")
    crop = best_crop(photo, 512)
    edges = (crop.box[0], crop.box[0] + crop.box[2])
    faces = find_faces(photo)
    assert len(faces) == 6
    assert sum(holds(crop, face) for face in faces) >= 4
    assert not [face for face in faces if any(face[0] < edge < face[2] for edge in edges)]


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (64, 64), (17, 900), (1, 1), (1, 50)])
def test_a_photo_without_anything_is_cut_in_the_middle(size: tuple[int, int]) -> None:
    photo = Image.new("RGB", size, (50, 60, 70))
    crop = best_crop(photo, 64)
    assert (crop.by, crop.box) == ("entropy", centre_box(size))


def test_faint_detail_is_found_by_entropy() -> None:
    faint = np.full((100, 300, 3), 128, np.uint8)
    faint[:, 200:] += (np.indices((100, 100)).sum(0) % 2 * 8).astype(np.uint8)[:, :, None]
    crop = best_crop(Image.fromarray(faint), 64)
    assert (crop.by, crop.box[0] >= 150) == ("entropy", True)


def test_only_missing_squares_are_found(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    first = crop_photos(session)
    assert sorted(first) == ["0.png", "1.png", "2.png"]
    record = json.loads(session.crops_path.read_text())
    assert set(record["0.png"]) == {"box", "by", "size", "sha256"}
    monkeypatch.setattr("fsd.data.crop.best_crop", None)
    assert crop_photos(session) == first


def test_a_box_by_hand(session: Session) -> None:
    crop = set_box(session, "0.png", 5, 6, 70)
    assert crop == Crop((5, 6, 70), "hand", (120, 80), crop.sha256)
    assert crop_photos(session)["0.png"] == crop
    assert read_crops(session)["0.png"].by == "hand"


def test_a_square_goes_with_its_photo(session: Session, tmp_path: Path) -> None:
    set_box(session, "0.png", 5, 6, 70)
    assert set(crop_photos(session)) == {"0.png", "1.png", "2.png"}
    moved = {path.name: path.rename(tmp_path / path.name) for path in session.instance_images.iterdir()}
    Image.new("RGB", (40, 40)).save(session.instance_images / "0.png")
    assert crop_photos(session)["0.png"].box == (0, 0, 40)
    assert set(read_crops(session)) == {"0.png", "1.png"}
    set_box(session, "0.png", 1, 2, 20)
    moved["0.png"].rename(session.instance_images / "0.png")
    assert crop_photos(session)["0.png"].size == (120, 80)


def test_boxes_are_in_pixels_of_the_upright_photo(session: Session) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, kind in enumerate(("jpg", "tif", "png")):
        image = Image.new("RGB", (5000, 300), (90 * number, 0, 0))
        image.save(session.instance_images / f"big.{kind}", exif=exif)
    for path in sorted(session.instance_images.glob("big.*")):
        assert set_box(session, path.name, 10, 2000, 250).size == (300, 5000)
        with pytest.raises(SessionError) as caught:
            set_box(session, path.name, 0, 0, 301)
        assert "300 x 5000" in caught.value.hint
    boxes = {photo.path.name: photo.box for photo in training_photos(session)}
    reduced = tuple(round(at * MAX_SIDE_PX / 5000) for at in (10, 2000, 250))
    assert boxes["big.jpg"] == boxes["big.tif"] == boxes["big.png"] == reduced
    session.crops_path.unlink()
    found = crop_photos(session)["big.jpg"]
    assert (found.size, found.box[2]) == ((300, 5000), 300)


@pytest.mark.parametrize("size", [(5, 9), (5000, 3999), (1, 9000), (4096, 4096)])
def test_a_rescaled_box_is_inside(size: tuple[int, int]) -> None:
    side = min(size)
    for left, top in ((0, 0), (size[0] - side, size[1] - side)):
        small = opened_size(size)
        box = rescaled((left, top, side), size, small)
        assert box[2] >= 1 and min(box) >= 0 and box[0] + box[2] <= small[0] and box[1] + box[2] <= small[1]


BAD_BOXES = [("0.png", -1, 0, 64), ("0.png", 60, 0, 80), ("0.png", 0, 0, 81), ("0.png", 0, 0, 3), ("0.png", 0, 0, 0)]
BAD_BOXES += [("0.png", 0.5, 0, 64), ("0.png", "1", 0, 64), ("0.png", 0, True, 64)]


@pytest.mark.parametrize("arguments", BAD_BOXES)
def test_bad_boxes(session: Session, arguments: tuple[str, int, int, int]) -> None:
    with pytest.raises(SessionError) as caught:
        set_box(session, *arguments)
    assert str(arguments[1:]).replace("'", "") in caught.value.message
    assert "120 x 80" in caught.value.hint
    assert not session.crops_path.exists()


def test_a_box_of_no_photo(session: Session) -> None:
    with pytest.raises(SessionError, match=r"'gone\.png'"):
        set_box(session, "gone.png", 0, 0, 64)


DAMAGED = ["{", "[]", '{"0.png": 3}', '{"0.png": {"box": [0, 0], "by": "face", "size": [120, 80]}}']
DAMAGED += ['{"0.png": {"box": [0, 0, 900], "by": "face", "size": [120, 80]}}']


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_crops(session: Session, content: str) -> None:
    session.crops_path.write_text(content)
    with pytest.raises(SessionError, match=r"crops\.json") as caught:
        crop_photos(session)
    assert "delete it" in caught.value.hint


def sheet_order(session: Session) -> Callable[[Path], tuple[bool, str]]:
    return lambda path: (path.parent == session.held_out_images, path.name)


def test_the_contact_sheet_shows_every_photo(session: Session, tmp_path: Path) -> None:
    path = contact_sheet(session)
    sheet = Image.open(path)
    assert path.parent == session.folder
    assert sheet.format == "PNG"
    assert sheet.width == 3 * 250 + 10
    photos = sorted([*session.instance_images.iterdir(), *session.held_out_images.iterdir()], key=sheet_order(session))
    for index, photo in enumerate(photos):
        image, crop = open_photo(photo), crop_photos(session)[photo.name]
        scale, corner = 240 / max(image.size), (10 + 250 * index, 10)
        offset = [at + (240 - side * scale) / 2 for at, side in zip(corner, image.size, strict=True)]
        for x, y in ((0.3, 0.3), (0.5, 0.7), (0.8, 0.4)):  # inside the square, which is shown undimmed
            place = [crop.box[0] + x * crop.box[2], crop.box[1] + y * crop.box[2]]
            shown = sheet.getpixel(tuple(round(at + value * scale) for at, value in zip(offset, place, strict=True)))
            expected = image.getpixel((round(place[0]), round(place[1])))
            assert np.abs(np.subtract(shown, expected)).max() < 40, (photo.name, x, y)
    with pytest.raises(SessionError, match="no photos"):
        contact_sheet(create(tmp_path, "empty"))
