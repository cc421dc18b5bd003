"""The pictures: fetch the packages, render the sprites, compose captioned scenes, cut photographs into pieces.

Every source, with version and licence, is listed in `sources.json`; pictures stay in the work folder.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
SIZE_PX = 128
STYLES = ("flat", "3d", "noto")
BASE_STYLES = ("flat", "3d")  # noto is held out of the base: it is the picture set of another style
STYLE_PHRASES = {
    "flat": ("a flat illustration of", "an illustration of"),
    "3d": ("a photo of", "a photo of", "a 3d render of"),
}
COLOURS = {
    "red": (210, 45, 45),
    "orange": (240, 140, 40),
    "yellow": (245, 215, 70),
    "green": (75, 165, 80),
    "blue": (60, 110, 215),
    "purple": (135, 75, 180),
    "pink": (240, 150, 190),
    "brown": (125, 85, 55),
    "grey": (140, 140, 140),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
}
DROPPED = (
    "Flags",
    "People & Body",
    "Symbols",
    "Smileys & Emotion",
)  # near-duplicates; single faces come back as concepts
HELD_OUT_PHOTOS = ("astronaut", "coffee", "chelsea", "china")
TRAIN_PHOTOS = {
    "scikit-image": (
        "rocket.jpg",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "hubble_deep_field.jpg",
        "retina.jpg",
        "ihc.png",
        "camera.png",
        "brick.png",
        "grass.png",
        "gravel.png",
        "coins.png",
        "moon.png",
        "cell.png",
    ),
    "scikit-learn": ("flower.jpg",),
    "gradio": ("cheetah.jpg", "cheetah1.jpg", "cheetah2.jpg", "lion.jpg", "tower.jpg"),
    "matplotlib": ("grace_hopper.jpg",),
}


def concepts() -> list[dict]:
    """The base's concepts: name, article, synonyms, code_point, category, source_name."""
    return json.loads((HERE / "concepts.json").read_text())


def fetch(downloads: Path) -> None:
    """Downloads what `sources.json` lists with npm pack and pip download; files already there are kept."""
    downloads.mkdir(parents=True, exist_ok=True)
    for source in json.loads((HERE / "sources.json").read_text()):
        if source["manager"] != "made here" and not any(downloads.glob(source["file"])):
            spec = source["package"] + ("@" if source["manager"] == "npm" else "==") + source["version"]
            command = (
                ["npm", "pack", "--silent", spec]
                if source["manager"] == "npm"
                else [sys.executable, "-m", "pip", "download", "-q", "--no-deps", spec]
            )
            subprocess.run(command, cwd=downloads, check=True)


def _tar_json(path: Path, member: str) -> dict:
    with tarfile.open(path) as tar:
        return json.load(tar.extractfile(member))


def _iconify(path: Path) -> tuple[dict, dict, dict]:
    """(code point -> name, name -> category, name -> square SVG text) of an iconify package."""
    icons, chars, meta = (_tar_json(path, f"package/{n}.json") for n in ("icons", "chars", "metadata"))
    names = {k.replace("-fe0f", ""): v for k, v in chars.items()}
    category = {n: c for c, members in meta["categories"].items() for n in members}
    box = icons["width"]
    svg = {
        n: f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {box} {box}">'
        f"{icon['body']}</svg>"
        for n, icon in icons["icons"].items()
    }
    return names, category, svg


def _tight(rgba: Image.Image) -> np.ndarray:
    """The picture cut to its opaque part and fitted into 128x128, uint8 RGBA."""
    rgba = rgba.convert("RGBA")
    rgba = rgba.crop(rgba.getchannel("A").point(lambda a: 255 * (a > 8)).getbbox())
    scale = SIZE_PX / max(rgba.size)
    rgba = rgba.resize([max(1, round(s * scale)) for s in rgba.size], Image.LANCZOS)
    square = Image.new("RGBA", (SIZE_PX, SIZE_PX))
    square.paste(rgba, ((SIZE_PX - rgba.width) // 2, (SIZE_PX - rgba.height) // 2))
    return np.asarray(square)


def render_sprites(work: Path) -> None:
    """Writes sprites.npy, uint8 (names, 3 styles, 128, 128, 4), and sprites.json, the code point and name of each row; concepts first."""
    import resvg_py

    found = {k: next((work / "downloads").glob(k)) for k in ("*emoji-flat*.tgz", "*noto*.tgz", "*emoji-3d*.tgz")}
    flat_names, category, flat_svg = _iconify(found["*emoji-flat*.tgz"])
    noto_names, _, noto_svg = _iconify(found["*noto*.tgz"])
    with tarfile.open(found["*emoji-3d*.tgz"]) as tar:
        render_3d = {Path(m.name).stem.replace("-fe0f", ""): m for m in tar.getmembers() if m.name.endswith(".webp")}
        shared = [c for c in flat_names if c in noto_names and c in render_3d]
        first = [c["code_point"] for c in concepts()]
        clocks = ("-thirty", "-oclock")
        rest = [
            c
            for c in shared
            if c not in first
            and category.get(flat_names[c]) not in (None, *DROPPED)
            and not flat_names[c].endswith(clocks)
        ]
        rows = []
        for code in first + rest:
            flat = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=flat_svg[flat_names[code]], width=256)))
            noto = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=noto_svg[noto_names[code]], width=256)))
            webp = Image.open(io.BytesIO(tar.extractfile(render_3d[code]).read()))
            rows.append(np.stack([_tight(flat), _tight(webp), _tight(noto)]))
    np.save(work / "sprites.npy", np.stack(rows))
    (work / "sprites.json").write_text(json.dumps([[c, flat_names[c]] for c in first + rest]))


def photo_arrays(work: Path, held_out: bool) -> dict[str, np.ndarray]:
    """name -> uint8 (H, W, 3): the training photographs, or the held-out ones that no training ever reads."""
    import skimage.data
    import sklearn.datasets

    folders = {
        "scikit-image": Path(skimage.data.__file__).parent,
        "scikit-learn": Path(sklearn.datasets.__file__).parent / "images",
    }
    if held_out:
        files = [f for n in HELD_OUT_PHOTOS for d in folders.values() for f in d.glob(n + ".*")]
        return {f.stem: np.asarray(Image.open(f).convert("RGB")) for f in files}
    found = {n: np.asarray(Image.open(folders[p] / n).convert("RGB")) for p in folders for n in TRAIN_PHOTOS[p]}
    for package in ("gradio", "matplotlib"):
        with zipfile.ZipFile(next((work / "downloads").glob(package + "-*.whl"))) as wheel:
            for member in wheel.namelist():
                if Path(member).name in TRAIN_PHOTOS[package]:
                    found[Path(member).name] = np.asarray(Image.open(io.BytesIO(wheel.read(member))).convert("RGB"))
    return found


def native_pieces(photo: np.ndarray) -> list[np.ndarray]:
    """The whole 128-px squares of a photograph at native resolution, on a grid from its top left corner."""
    height, width = photo.shape[:2]
    return [
        photo[y : y + SIZE_PX, x : x + SIZE_PX]
        for y in range(0, height - SIZE_PX + 1, SIZE_PX)
        for x in range(0, width - SIZE_PX + 1, SIZE_PX)
    ]


def random_piece(photo: np.ndarray, rng: np.random.Generator, size_px: int = SIZE_PX) -> np.ndarray:
    """A random square of a photograph at a random scale, flipped and sometimes with changed colours, uint8 (size, size, 3)."""
    side = min(photo.shape[:2])
    cut = round(size_px * (side / size_px) ** rng.random())
    y, x = rng.integers(photo.shape[0] - cut + 1), rng.integers(photo.shape[1] - cut + 1)
    piece = cv2.resize(photo[y : y + cut, x : x + cut], (size_px, size_px), interpolation=cv2.INTER_AREA)
    piece = piece[:, ::-1] if rng.random() < 0.5 else piece
    if rng.random() < 0.5:
        gain, shift = rng.uniform(0.6, 1.25, 3 if rng.random() < 0.5 else 1), rng.uniform(-25, 25)
        piece = np.clip(piece[..., rng.permutation(3)] * gain + shift, 0, 255)
    return np.ascontiguousarray(piece, dtype=np.uint8)


def leaves(rng: np.random.Generator, palette: np.ndarray, size_px: int = SIZE_PX) -> np.ndarray:
    """A "dead leaves" picture: overlapping shapes of power-law size in a photograph's colours, which have natural image statistics."""
    image = np.full((size_px * 2, size_px * 2, 3), palette[rng.integers(len(palette))], np.uint8)
    for _ in range(220):
        radius = 4 * (1 - rng.random()) ** -0.7
        axes = (int(min(radius, 160)) + 1, int(min(radius * rng.uniform(0.4, 1), 160)) + 1)
        centre = tuple(int(v) for v in rng.integers(0, size_px * 2, 2))
        cv2.ellipse(
            image,
            centre,
            axes,
            float(rng.uniform(0, 180)),
            0,
            360,
            tuple(int(v) for v in palette[rng.integers(len(palette))]),
            -1,
            cv2.LINE_AA,
        )
    return cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA)


def scene(
    sprite: np.ndarray,
    colour: str,
    rng: np.random.Generator,
    size_px: int = SIZE_PX,
    noise: int = 10,
    scale: tuple[float, float] = (0.70, 0.92),
) -> np.ndarray:
    """The sprite on a plain background of a named colour, uint8 (size, size, 3)."""
    side = int(size_px * rng.uniform(*scale))
    small = cv2.resize(_premultiplied(sprite), (side, side), interpolation=cv2.INTER_AREA)
    small = small[:, ::-1] if rng.random() < 0.5 else small
    jitter = np.array(COLOURS[colour]) + rng.integers(-noise, noise + 1) + rng.integers(-noise // 2, noise // 2 + 1, 3)
    image = np.empty((size_px, size_px, 3), np.float32)
    image[:] = np.clip(jitter, 0, 255)
    free = size_px - side
    y, x = (int(np.clip(free / 2 + rng.uniform(-0.35, 0.35) * free, 0, free)) for _ in range(2))
    part = image[y : y + side, x : x + side]
    part *= 1 - small[..., 3:]
    part += small[..., :3]
    return np.clip(image, 0, 255).astype(np.uint8)


def _premultiplied(sprite: np.ndarray) -> np.ndarray:
    """uint8 RGBA -> float32 RGB times alpha (0..255) and alpha (0..1), so that resizing keeps edges clean."""
    out = sprite.astype(np.float32)
    out[..., 3] /= 255
    out[..., :3] *= out[..., 3:]
    return out


def caption(concept: dict, style: str, colour: str, rng: np.random.Generator) -> str:
    """One caption for a scene: style phrase (90 %), article and word or synonym, background clause (70 %)."""
    words = [concept["name"]] * 3 + concept["synonyms"]
    word = words[rng.integers(len(words))] if concept["synonyms"] else concept["name"]
    article = concept["article"] if word == concept["name"] else ("an" if word[0] in "aeiou" else "a")
    phrases = STYLE_PHRASES[style]
    noun = f"{article} {word}".strip()
    text = f"{phrases[rng.integers(len(phrases))]} {noun}"
    if rng.random() < 0.75:
        named = "gray" if colour == "grey" and rng.random() < 0.4 else colour
        text += f" on {'an' if named[0] in 'aeiou' else 'a'} {named} background"
    return text


def build_pool(work: Path, seed: int = 0, scenes: int = 2600, pieces: int = 3600, leaf: int = 600) -> None:
    """Writes pool.npy, uint8 (N, 128, 128, 3): the VAE's training pictures in random order (scenes of all names, photo pieces, leaves)."""
    rng = np.random.default_rng(seed)
    sprites = np.load(work / "sprites.npy", mmap_mode="r")
    photos = photo_arrays(work, held_out=False)
    weight = np.array(
        [
            np.sqrt(p.shape[0] * p.shape[1]) * (1 if np.ptp(p.astype(int), 2).mean() > 3 else 0.4)
            for p in photos.values()
        ]
    )
    draws = rng.choice(len(photos), pieces, p=weight / weight.sum())
    arrays = list(photos.values())
    images = [random_piece(arrays[i], rng) for i in draws]
    images += [leaves(rng, arrays[rng.integers(len(arrays))][::9, ::9].reshape(-1, 3)) for _ in range(leaf)]
    names, colours = concepts(), list(COLOURS)
    for i in range(scenes):
        row = rng.integers(len(names)) if i % 2 else rng.integers(len(sprites))
        images.append(scene(sprites[row, rng.integers(3)], colours[rng.integers(11)], rng, scale=(0.62, 0.95)))
    np.save(work / "pool.npy", np.stack(images)[rng.permutation(len(images))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/tiny_base"))
    work = parser.parse_args().work
    fetch(work / "downloads")
    render_sprites(work)
    build_pool(work)


if __name__ == "__main__":
    main()
