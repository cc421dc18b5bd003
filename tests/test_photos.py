"""Photos: every kind that is read, every kind that is refused, captions beside them, near-duplicates, hold-out."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageEnhance

from fsd.data import decode
from fsd.data.looks import look
from fsd.data.names import photo_files
from fsd.data.photos import AddReport, add_photos, open_photo, square
from fsd.data.prompt import prompt_of
from fsd.data.session import Session, create, describe
from fsd.errors import MachineError, SessionError
from fsd.recipe import Recipe


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = create(tmp_path, "s")
    made.save_recipe(Recipe(family="tiny", resolution_px=64))
    return made


def scene(seed: int = 0, size: tuple[int, int] = (120, 80)) -> Image.Image:
    """A picture that looks like no other seed's: red at the upper left, blue at the lower right."""
    image = Image.new("RGB", size, (128, 128, 128))
    pen, random = ImageDraw.Draw(image), np.random.default_rng(seed)
    for _ in range(12):
        left, top = random.integers(0, size[0]), random.integers(0, size[1])
        pen.ellipse((left, top, left + 30, top + 20), fill=tuple(int(c) for c in random.integers(0, 255, 3)))
    pen.rectangle((0, 0, 19, 19), fill=(255, 0, 0))
    pen.rectangle((size[0] - 20, size[1] - 20, *size), fill=(0, 0, 255))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def rotated_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(scene().rotate(90, expand=True), "JPEG", exif=exif, quality=95)


def transparent(kind: str = "PNG") -> bytes:
    image = scene().convert("RGBA")
    image.paste((0, 0, 0, 0), (40, 30, 60, 50))
    return encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))


def palette() -> bytes:
    image = scene().quantize(64)
    return encoded(image, "PNG", transparency=image.getpixel((50, 40)))


def deep(kind: str, top: int = 65535) -> bytes:
    ramp = np.linspace(0, top, 120 * 80).reshape(80, 120).astype(np.uint16)
    return encoded(Image.fromarray(ramp), kind)


def heic() -> bytes:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    return encoded(scene(), "HEIF", quality=95)


def animated(kind: str) -> bytes:
    return encoded(scene(), kind, save_all=True, append_images=[scene(1)], duration=100)


COLOURED: dict[str, Callable[[], bytes]] = {
    "a.jpg": lambda: encoded(scene(), "JPEG", quality=95),
    "progressive.jpeg": lambda: encoded(scene(), "JPEG", quality=95, progressive=True),
    "rotated.jpg": rotated_jpeg,
    "cmyk.jpg": lambda: encoded(scene().convert("CMYK"), "JPEG", quality=95),
    "a.png": lambda: encoded(scene(), "PNG"),
    "alpha.png": transparent,
    "palette.png": palette,
    "a.webp": lambda: encoded(scene(), "WEBP", quality=95),
    "alpha.webp": lambda: transparent("WEBP"),
    "animated.webp": lambda: animated("WEBP"),
    "animated.png": lambda: animated("PNG"),
    "a.avif": lambda: encoded(scene(), "AVIF", quality=95),
    "phone.jpg": lambda: encoded(scene(), "MPO", save_all=True, append_images=[scene(1)], quality=95),
    "a.bmp": lambda: encoded(scene(), "BMP"),
    "a.tif": lambda: encoded(scene(), "TIFF"),
    "cmyk.tiff": lambda: encoded(scene().convert("CMYK"), "TIFF"),
    "a.heic": heic,
    "named-wrongly.png": lambda: encoded(scene(), "JPEG", quality=95),
    "ÄÖ ü 犬 42.JPG": lambda: encoded(scene(), "JPEG", quality=95),
}


@pytest.mark.parametrize("name", COLOURED)
def test_every_kind_of_photo_is_read(session: Session, name: str) -> None:
    content = COLOURED[name]()
    report = add_photos(session, {name: content})
    assert (report.added, report.skipped) == ([name], [])
    assert (session.instance_images / name).read_bytes() == content
    photo = open_photo(session.instance_images / name)
    assert (photo.mode, photo.size) == ("RGB", (120, 80))
    red, blue = (np.array(photo.getpixel(place)) for place in ((8, 8), (112, 72)))
    assert np.abs(red - (255, 0, 0)).max() < 40
    assert np.abs(blue - (0, 0, 255)).max() < 40


def test_transparency_becomes_white(tmp_path: Path) -> None:
    for kind in ("PNG", "WEBP"):
        (tmp_path / "a").write_bytes(transparent(kind))
        assert open_photo(tmp_path / "a").getpixel((50, 40)) == (255, 255, 255)
    (tmp_path / "grey-alpha").write_bytes(encoded(Image.new("LA", (40, 40), (0, 0)), "PNG"))
    assert open_photo(tmp_path / "grey-alpha").getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(deep(kind))
    grey = np.asarray(open_photo(tmp_path / "a"))[:, :, 0]
    assert (int(grey.min()), int(grey.max())) == (0, 255)
    assert abs(int(grey[40, 60]) - 128) <= 2
    assert len(np.unique(grey)) > 200


def test_deep_and_real_numbers(tmp_path: Path) -> None:
    for values in (np.linspace(0, 1, 4800), np.linspace(-5, 900, 4800)):
        encoded_tiff = encoded(Image.fromarray(values.reshape(60, 80).astype(np.float32)), "TIFF")
        (tmp_path / "a").write_bytes(encoded_tiff)
        grey = np.asarray(open_photo(tmp_path / "a"))
        assert (int(grey.min()), int(grey.max())) == (0, 255)
    (tmp_path / "bits").write_bytes(encoded(Image.new("1", (40, 40), 1), "PNG"))
    assert open_photo(tmp_path / "bits").getpixel((3, 3)) == (255, 255, 255)
    (tmp_path / "grey").write_bytes(encoded(Image.new("L", (40, 40), 77), "JPEG"))
    assert open_photo(tmp_path / "grey").getpixel((3, 3)) == (77, 77, 77)


def test_embedded_profiles(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile"):
        (tmp_path / "a").write_bytes(encoded(scene(), "PNG", icc_profile=profile))
        assert np.abs(np.asarray(open_photo(tmp_path / "a")).astype(int) - np.asarray(scene())).max() <= 2


def test_colours_are_read_by_the_embedded_profile(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"XXXX").replace(b"bXYZ", b"rXYZ").replace(b"XXXX", b"bXYZ")
    (tmp_path / "a").write_bytes(encoded(Image.new("RGB", (40, 40), (255, 0, 0)), "PNG", icc_profile=swapped))
    assert np.abs(np.subtract(open_photo(tmp_path / "a").getpixel((5, 5)), (0, 0, 255))).max() < 40


def test_huge_photos_are_bounded_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big.jpg").write_bytes(encoded(Image.new("RGB", (3000, 1500), "red"), "JPEG"))
    (tmp_path / "big.png").write_bytes(encoded(Image.new("L", (3000, 1500)), "PNG"))
    assert open_photo(tmp_path / "big.jpg", max_side_px=1000).size == (1000, 500)
    monkeypatch.setattr(decode, "MAX_DECODED_PIXELS", 1_000_000)
    assert open_photo(tmp_path / "big.jpg", max_side_px=700).size == (700, 350)
    with pytest.raises(SessionError, match=r"big\.png: 3000 x 1500 px"):
        open_photo(tmp_path / "big.png", max_side_px=700)
    monkeypatch.setattr(decode, "MAX_HEADER_PIXELS", 4_000_000)
    with pytest.raises(SessionError, match=r"big\.jpg: 3000 x 1500 px"):
        open_photo(tmp_path / "big.jpg", max_side_px=700)


def test_a_bomb_is_refused_by_its_header(session: Session) -> None:
    header = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    report = add_photos(session, {"bomb.png": bytes(header)})
    assert report.skipped == [("bomb.png", "60000 x 60000 px is more than can be decoded here")]
    assert Image.MAX_IMAGE_PIXELS is not None


class Turned(io.BytesIO):
    """A photo whose decoding says when it begins and waits for its turn to go on."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.began, self.turn = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.began.set()
        assert self.turn.wait(60)
        return super().read(size)


def test_threads_that_decode_at_once_leave_pillows_limit_as_it_was() -> None:
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    first, second = (Turned(encoded(scene(), "PNG")) for _ in range(2))
    with ThreadPoolExecutor(2) as threads:
        tasks = []
        for photo in (first, second):
            tasks.append(threads.submit(decode.decode, photo, "photo"))
            assert photo.began.wait(60)
        for photo, task in zip((first, second), tasks, strict=True):
            assert Image.MAX_IMAGE_PIXELS is None
            photo.turn.set()
            assert task.result().size == (120, 80)
    assert before == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters


good_jpeg = encoded(scene(), "JPEG")
REFUSED = {
    "zero.jpg": (b"", "empty"),
    "cut.jpg": (good_jpeg[: len(good_jpeg) // 2], "cut short"),
    "cut.png": (encoded(scene(), "PNG")[:400], "cut short"),
    "text.jpg": (b"hello, I am no photo", "not a photo"),
    "noise.png": (b"\x89PNG\r\n\x1a\n" + bytes(200), "photo|damaged"),
    "a.gif": (encoded(scene(), "GIF"), "a GIF"),
    "a.pdf": (b"%PDF-1.7 ...", "a PDF"),
    "a.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "film.mp4": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2", "film"),
    "inner.zip": (b"PK\x03\x04" + bytes(60), "a zip"),
    "bell\x07.jpg": (good_jpeg, "control"),
    "x" * 250 + ".jpg": (good_jpeg, "too long"),
    ".hidden.jpg": (good_jpeg, "dot"),
    "lonely.txt": (b"a caption", "without a photo"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_listed(session: Session, name: str) -> None:
    content, reason = REFUSED[name]
    report = add_photos(session, {name: content, "good.png": encoded(scene(), "PNG")})
    assert report.added == ["good.png"]
    assert [skipped for skipped, _ in report.skipped] == [name]
    assert re.search(reason, report.skipped[0][1])
    assert [p.name for p in session.instance_images.iterdir()] == ["good.png"]
    assert not list(session.captions.iterdir())
    assert not [p for p in session.folder.iterdir() if "partial" in p.name or "lock" in p.name]


def test_without_pillow_one_error_says_so(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MachineError, match="the package PIL is not installed") as caught:
        add_photos(session, {"a.jpg": good_jpeg})
    assert "fsd setup train" in caught.value.hint
    assert not list(session.instance_images.iterdir())


def test_every_format_is_one_that_the_oldest_pillow_knows() -> None:
    declared = next(
        line for line in (Path(__file__).parents[1] / "setup.py").read_text().split('"') if "pillow>" in line
    )
    assert declared == "pillow>=11.3"  # the first to read AVIF, and as old as what notebooks come with


BAD_SOURCES: dict[str, tuple[object, str]] = {
    "missing": ("/no/such/folder", "/no/such/folder"),
    "empty text": ("", "''"),
    "a number": ([7], "7"),
    "no entries": ({}, "the upload"),
    "no files": ([], "0 files"),
    "not bytes": ({"a.jpg": "text"}, "a.jpg"),
    "nobody's home": ("~no-such-user/photos", "~no-such-user/photos"),
    "far too long": ("x" * 300, "name too long"),
    "below a file": (__file__ + "/photos", "is a file"),
    "a null byte": ("a\0b", "null"),
}


@pytest.mark.parametrize("kind", BAD_SOURCES)
def test_bad_sources(session: Session, kind: str) -> None:
    source, told = BAD_SOURCES[kind]
    unchanged(session, source, told)


def unchanged(session: Session, source: object, told: str, **options: int) -> None:
    before = sorted(session.folder.rglob("*"))
    with pytest.raises(SessionError) as caught:
        add_photos(session, source, **options)  # type: ignore[arg-type]
    assert told in caught.value.message
    assert caught.value.hint
    assert sorted(session.folder.rglob("*")) == before


def test_an_empty_folder_and_one_with_housekeeping_only(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    unchanged(session, folder, "no photos in")
    for name in (".DS_Store", "Thumbs.db", "._a.jpg"):
        (folder / name).write_bytes(b"x")
    unchanged(session, folder, "no photos in")


@pytest.mark.parametrize("hold_out", [-1, 2, 99, True, "1"])
def test_bad_hold_out(session: Session, hold_out: int) -> None:
    source = {f"{n}.png": encoded(scene(n), "PNG") for n in range(2)}
    unchanged(session, source, f"hold_out is {hold_out!r}", hold_out=hold_out)


def test_zips_are_read_safely(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("trip/a.jpg", good_jpeg)
        archive.writestr("trip/a.txt", "on the beach")
        archive.writestr("other/a.jpg", encoded(scene(2), "JPEG"))
        archive.writestr("__MACOSX/trip/._a.jpg", b"x")
        archive.writestr("trip/.DS_Store", b"x")
    report = add_photos(session, path)
    assert (sorted(report.added), report.skipped) == (["a (2).jpg", "a.jpg"], [])
    captioned = report.captions[0]
    assert (session.instance_images / captioned).read_bytes() == good_jpeg
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("new.jpg", encoded(scene(3), "JPEG"))
        archive.writestr("../../escape.jpg", good_jpeg)
    unchanged(session, path, "../../escape.jpg")
    path.write_bytes(b"PK no zip")
    unchanged(session, path, "photos.zip")


def test_an_uploaded_zip_is_opened(session: Session) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("trip/a.jpg", good_jpeg)
        archive.writestr("trip/a.txt", "on the beach")
        archive.writestr("__MACOSX/trip/._a.jpg", b"x")
    report = add_photos(session, {"Photos.ZIP": stream.getvalue(), "b.png": encoded(scene(1), "PNG"), "c.zip": b"no"})
    assert (sorted(report.added), report.captions) == (["a.jpg", "b.png"], ["a.jpg"])
    assert [name for name, reason in report.skipped if "not a zip" in reason] == ["c.zip"]


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "sks1 (1).jpg").write_bytes(good_jpeg)
    (folder / "sks1 (1).txt").write_bytes(b"\xef\xbb\xbfa photo of sks1\r\n")
    (folder / "b.png").write_bytes(encoded(scene(1), "PNG"))
    (folder / "b.png.txt").write_text("wide", encoding="utf-16")
    (folder / "c.png").write_bytes(encoded(scene(2, (50, 40)), "PNG"))
    (folder / "c.txt").write_bytes("Stra\xdfe".encode("latin-1"))
    (folder / "d").write_bytes(encoded(scene(3), "WEBP"))
    (folder / "notes.txt").write_text("mine")
    (folder / ".DS_Store").write_bytes(b"x")
    return folder


def test_a_folder_is_copied_not_moved(session: Session, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = add_photos(session, str(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert sorted(report.added) == ["b.png", "c.png", "d.webp", "sks1 (1).jpg"]
    assert sorted(report.skipped) == [
        ("notes.txt", "a text without a photo of its name"),
        ("sub", "a folder; add it on its own, or call it 1_IDENTIFIER CLASS"),
    ]
    texts = {path.name: path.read_text("utf-8") for path in session.captions.iterdir()}
    assert texts == {"sks1 (1).txt": "a photo of sks1\n", "b.txt": "wide\n", "c.txt": "Straße\n"}
    assert "c.png is 50 x 40 px, smaller than the 64 px of training" in report.warnings
    assert any("Latin-1" in warning for warning in report.warnings)
    assert "4 photos added" in report.text()
    assert AddReport(**report.to_json()).added == json.loads(json.dumps(report.to_json()))["added"]


def test_adding_twice_adds_nothing(session: Session, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    add_photos(session, folder, hold_out=1)
    (folder / "d.txt").write_text("late caption")
    (folder / "c.txt").write_text("another one")
    (session.captions / "b.txt").write_text("edited by hand")
    again = add_photos(session, folder, hold_out=1)
    assert (again.added, again.held_out) == ([], [])
    assert sum("the same bytes" in reason for _, reason in again.skipped) == 4
    assert (session.captions / "d.txt").read_text() == "late caption\n"
    assert (session.captions / "b.txt").read_text() == "edited by hand"
    assert any("c.png keeps the caption it has" in warning for warning in again.warnings)


def test_files_and_names_that_clash(session: Session, tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        path = tmp_path / str(number) / "dog 7.jpg"
        path.parent.mkdir()
        path.write_bytes(encoded(scene(number), "JPEG"))
        paths.append(path)
    paths[0].with_suffix(".txt").write_text("first")
    report = add_photos(session, [*paths, paths[0].with_suffix(".txt"), paths[1]])
    assert report.added == ["dog 7.jpg", "dog 7 (2).jpg", "dog 7 (3).jpg"]
    assert report.skipped == []
    assert (session.captions / "dog 7.txt").read_text() == "first\n"
    assert add_photos(session, {"DOG 7.JPG": encoded(scene(5), "JPEG")}).added == ["DOG 7 (4).JPG"]


def test_photos_of_one_stem_keep_their_own_captions(session: Session) -> None:
    photos = {"a.jpg": encoded(scene(0), "JPEG"), "a.png": encoded(scene(1), "PNG")}
    report = add_photos(session, {**photos, "a.jpg.txt": b"first", "a.png.txt": b"second", "a.txt": b"of none"})
    assert report.added == ["a.jpg", "a (2).png"]
    assert report.skipped == [("a.txt", "a text without a photo of its name")]
    assert "a.png was named a (2).png, for a is taken" in report.warnings
    assert [prompt_of(session, session.instance_images / name).text for name in report.added] == ["first", "second"]
    (session.captions / "b.txt").write_text("of a photo that is gone")
    assert add_photos(session, {"A.webp": encoded(scene(2), "WEBP")}).added == ["A (3).webp"]
    assert add_photos(session, {"B.png": encoded(scene(3), "PNG")}).added == ["B (2).png"]
    assert describe(session)["captions"] == 2


def test_one_photo_twice_with_two_captions(session: Session) -> None:
    report = add_photos(session, {"a.jpg": good_jpeg, "a.txt": b"first", "b.jpg": good_jpeg, "b.txt": b"second"})
    assert prompt_of(session, session.instance_images / "a.jpg").text == "first"
    assert "a.jpg keeps the caption it has; b.txt says something else" in report.warnings


def test_near_duplicates_are_pointed_out(session: Session) -> None:
    image = scene(4, (300, 200))
    add_photos(session, {"a.png": encoded(image, "PNG")})
    smaller = encoded(image.resize((200, 133)), "JPEG", quality=60)
    report = add_photos(session, {"b.jpg": smaller, "other.png": encoded(scene(5, (300, 200)), "PNG")})
    assert report.near_duplicates == [("a.png", "b.jpg")]
    assert "a.png and b.jpg look the same; keep one" in report.warnings
    changed = {"edge": image.crop((3, 2, 297, 198)), "light": ImageEnhance.Brightness(image).enhance(1.2)}
    changed["turned"] = image.rotate(1)
    report = add_photos(session, {f"{name}.png": encoded(photo, "PNG") for name, photo in changed.items()})
    assert {("a.png", f"{name}.png") for name in changed} <= set(report.near_duplicates)
    looks = [look(scene(seed)) for seed in range(20)]
    apart = [(a ^ b).bit_count() for i, a in enumerate(looks) for b in looks[:i]]
    assert min(apart) > 8


def test_hold_out_is_spread_evenly_and_reached_once(session: Session) -> None:
    source = {f"{n:02}.png": encoded(scene(n), "PNG") for n in range(9)}
    report = add_photos(session, source, hold_out=3)
    assert report.held_out == ["01.png", "04.png", "07.png"]
    assert sorted(p.name for p in session.held_out_images.iterdir()) == report.held_out
    assert len(list(session.instance_images.iterdir())) == 6
    more = add_photos(session, {"new.png": encoded(scene(20), "PNG"), "04.png": source["04.png"]}, hold_out=3)
    assert (more.added, more.held_out) == (["new.png"], [])
    assert more.skipped == [("04.png", "the same bytes are there already, as 04.png")]


def test_what_training_has_seen_is_not_held_out(session: Session) -> None:
    first = {f"{n}.png": encoded(scene(n), "PNG") for n in range(6)}
    add_photos(session, first)
    (session.checkpoints / "unet-000010").mkdir()
    (session.checkpoints / "unet-000010" / "checkpoint.json").write_text("{}")
    later = {f"0{n}.png": encoded(scene(10 + n), "PNG") for n in range(3)}
    assert add_photos(session, later, hold_out=2).held_out == ["00.png", "02.png"]
    with pytest.raises(SessionError, match="2 are held out, and training has seen all other photos but 1") as caught:
        add_photos(session, {"more.png": encoded(scene(20), "PNG")}, hold_out=4)
    assert "at least 1 photos more" in caught.value.hint
    assert len(list(session.instance_images.iterdir())) == 7


def test_fewer_held_out_photos_are_not_brought_back_in_silence(session: Session) -> None:
    source = {f"{n}.png": encoded(scene(n), "PNG") for n in range(4)}
    add_photos(session, source, hold_out=2)
    report = add_photos(session, source, hold_out=1)
    assert report.warnings == ["hold_out is 1, but 2 photos are held out already; they stay so"]
    assert add_photos(session, source).warnings == []


@pytest.mark.parametrize("failing", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_failing_move_leaves_everything_as_it_was(
    session: Session, monkeypatch: pytest.MonkeyPatch, failing: int, error: BaseException
) -> None:
    add_photos(session, {"0.png": encoded(scene(0), "PNG")})
    before = {path: path.read_bytes() for path in session.folder.rglob("*") if path.is_file()}
    replace, calls = os.replace, []

    def fails(source: Path, target: Path) -> None:
        calls.append(target.name)
        if len(calls) == failing:
            raise error
        replace(source, target)

    source = {f"{n}.png": encoded(scene(n), "PNG") for n in (1, 2, 3)} | {f"{n}.txt": b"a caption" for n in (1, 2)}
    monkeypatch.setattr("os.replace", fails)
    with pytest.raises((MachineError, KeyboardInterrupt)):
        add_photos(session, source, hold_out=3)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in session.folder.rglob("*") if path.is_file()} == before
    assert len(add_photos(session, source, hold_out=3).added) == 3


def test_what_a_killed_add_left_is_cleared(session: Session) -> None:
    left = session.folder / ".photos.partial-0123abcd"
    left.mkdir()
    (left / "a.jpg").write_bytes(good_jpeg)
    add_photos(session, {"a.jpg": good_jpeg})
    assert not left.exists()


def test_a_name_with_the_temporary_mark_is_a_photo(session: Session) -> None:
    assert add_photos(session, {"cake.partial-view.jpg": good_jpeg}).added == ["cake.partial-view.jpg"]
    assert [path.name for path in photo_files(session.instance_images)] == ["cake.partial-view.jpg"]


@pytest.mark.parametrize("name", ["می‌خواهم.jpg", "👩‍🚀.jpg", "🫩.jpg"])
def test_names_with_joiners_and_young_emoji_are_ordinary(session: Session, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, good_jpeg)
    assert add_photos(session, tmp_path / "a.zip").added == [name]


def test_a_full_disk_leaves_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(MachineError, match="No space left"):
        add_photos(session, {"a.jpg": good_jpeg})
    assert not list(session.instance_images.iterdir())
    assert not [p for p in session.folder.iterdir() if p.name.startswith(".")]


def test_an_interrupted_add_leaves_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("fsd.data.adding.look", stop)
    with pytest.raises(KeyboardInterrupt):
        add_photos(session, {"a.jpg": good_jpeg})
    assert not list(session.instance_images.iterdir())
    assert sorted(p.name for p in session.folder.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize("box", [(0, 0, 80), (40, 0, 80), (100, 60, 80), (-20, -5, 80), (10, 10, 500), (5, 5, 1)])
def test_square_is_always_a_square(box: tuple[int, int, int]) -> None:
    cut = square(scene(), box, 64)
    assert (cut.mode, cut.size) == ("RGB", (64, 64))


def test_square_takes_the_box() -> None:
    assert square(scene(), (0, 0, 16), 16).getpixel((8, 8)) == (255, 0, 0)
    assert square(scene(), (104, 64, 16), 16).getpixel((8, 8)) == (0, 0, 255)


def test_unreadable_paths(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"gone\.jpg"):
        open_photo(tmp_path / "gone.jpg")
    with pytest.raises(SessionError):
        open_photo(tmp_path)
