"""The judge: a small image encoder that names what a picture shows and gives an image vector. It scores pictures and is never trained on a subject."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from . import judge_folder

SIZE_PX = 64


class JudgeNet(nn.Module):
    """Convolutions with batch norm, then a 128-wide vector: float (N, 3, 64, 64) in 0..1 -> (N, 128), L2-normalised."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128), size: int = 128):
        super().__init__()
        layers, before = [], 3
        for i, width in enumerate(widths):
            layers += [*self._conv(before, width, 2), *([] if i in (0, 3) else self._conv(width, width, 1))]
            before = width
        self.body = nn.Sequential(*layers)
        self.vector = nn.Linear(2 * before, size)

    @staticmethod
    def _conv(before: int, after: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.body(x * 2 - 1)
        return F.normalize(self.vector(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)), dim=1)


def lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB 0..255 (..., 3) -> CIE Lab, D65."""
    c = np.asarray(rgb, np.float64) / 255
    c = np.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    xyz = (
        c
        @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
        / (0.9505, 1, 1.089)
    )
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


class Judge:
    """Scores pictures: `name`, `embed` and `background`. Pictures are PIL images or uint8 RGB arrays (H, W, 3) of any size."""

    def __init__(self, folder: Path):
        facts = json.loads((folder / "judge.json").read_text(encoding="utf-8"))
        tensors = {
            k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / "judge.safetensors").items()
        }
        self.classes, self.colours = facts["classes"], facts["colours"]
        self.scale = facts["logit_scale"]
        self.head = tensors.pop("head")
        self.net = JudgeNet(tuple(facts["widths"]), facts["vector_size"]).eval()
        self.net.load_state_dict(tensors)

    @torch.no_grad()
    def embed(self, images: list) -> np.ndarray:
        """float32 (N, 128): the pictures' vectors, L2-normalised, so that a dot product is the cosine."""
        arrays = [torch.from_numpy(np.array(_rgb(i))).permute(2, 0, 1)[None].float() / 255 for i in images]
        small = [
            F.interpolate(a, (SIZE_PX, SIZE_PX), mode="area" if min(a.shape[2:]) >= SIZE_PX else "bilinear")
            for a in arrays
        ]
        return self.net(torch.cat(small)).numpy()

    def name(self, images: list, top: int = 5) -> list[list[tuple[str, float]]]:
        """For each picture the `top` likeliest concepts with their probabilities, best first."""
        logits = torch.from_numpy(self.embed(images)) @ self.head.T * self.scale
        values, places = logits.softmax(1).topk(top)
        return [
            [(self.classes[p], v) for p, v in zip(ps, vs, strict=False)]
            for ps, vs in zip(places.tolist(), values.tolist(), strict=False)
        ]

    def background(self, images: list) -> list[str]:
        """For each picture the named colour nearest, in Lab, to the median of its outermost 4 % of pixels."""
        names, table = list(self.colours), lab(np.array(list(self.colours.values())))
        return [
            names[int(np.argmin(np.linalg.norm(table - lab(np.median(_border(_rgb(i)), 0)), axis=1)))] for i in images
        ]


def _rgb(image) -> np.ndarray:
    """uint8 (H, W, 3) of a PIL image or an array."""
    return np.asarray(image.convert("RGB") if hasattr(image, "convert") else image, np.uint8)


def _border(image: np.ndarray) -> np.ndarray:
    """The outermost 4 % of an image on each side as (N, 3)."""
    edge = max(1, round(min(image.shape[:2]) * 0.04))
    inside = np.zeros(image.shape[:2], bool)
    inside[edge:-edge, edge:-edge] = True
    return image[~inside]


def load_judge(folder: Path | None = None) -> Judge:
    """The judge of this wheel, or of another folder."""
    return Judge(folder or judge_folder())
