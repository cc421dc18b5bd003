"""Where the eye goes in a photo without faces: spectral residual, else the entropy of its grey values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image as Pil

MAP_PX = 64
FLAT = 0.02
"""Contrast of the grey values (standard deviation of 0 to 1) below which a photo has no subject to speak of."""


def saliency_map(photo: Pil.Image) -> Any:
    """A float map (MAP_PX, MAP_PX) that sums to 1: spectral residual of the LAB channels (Hou and Zhang, CVPR 2007).

    Smoothed, and weighed towards the middle, where photographers put their subject.
    """
    import numpy as np
    from PIL import Image

    small = photo.resize((MAP_PX, MAP_PX), Image.Resampling.LANCZOS, reducing_gap=3.0)
    total = np.zeros((MAP_PX, MAP_PX))
    for channel in np.moveaxis(_lab(np.asarray(small, dtype=np.float64) / 255), 2, 0):
        spectrum = np.fft.fft2(channel)
        amplitude = np.log(np.abs(spectrum) + 1e-8)
        residual = amplitude - _blurred(amplitude, 1.0)
        back = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
        spread = channel.std()
        total += spread * _blurred(back, 2.5) / max(back.sum(), 1e-12)
    axis = (np.arange(MAP_PX) + 0.5) / MAP_PX - 0.5
    total *= np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 0.3**2))
    return total / max(total.sum(), 1e-12)


def has_subject(photo: Pil.Image) -> bool:
    """Whether there is contrast enough for saliency to mean anything."""
    import numpy as np

    return bool(np.asarray(photo.convert("L").resize((MAP_PX, MAP_PX)), dtype=np.float64).std() / 255 > FLAT)


def entropy_map(photo: Pil.Image) -> Any:
    """A float map (MAP_PX, MAP_PX) that sums to 1: entropy of the grey values in each of 16 x 16 tiles."""
    import numpy as np

    grey = np.asarray(photo.convert("L").resize((256, 256)))
    tiles = grey.reshape(16, 16, 16, 16).swapaxes(1, 2).reshape(256, 256)
    shares = np.stack([np.bincount(tile // 8, minlength=32) for tile in tiles]) / 256
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(1).reshape(16, 16) + 1e-6
    return np.kron(entropy, np.ones((4, 4))) / (16 * entropy.sum())


def best_window(weights: Any, width: int, height: int, side: int) -> tuple[int, int]:
    """(left, top) of the square of `side` in a width x height photo that holds most of the map (ties: the middle)."""
    import numpy as np

    def along(profile: Any, length: int) -> int:
        edges = np.interp(np.linspace(0, MAP_PX, length + 1), np.arange(MAP_PX + 1), np.r_[0, np.cumsum(profile)])
        held = edges[side:] - edges[: length - side + 1]
        good = np.flatnonzero(held >= held.max() - 1e-9)
        return int(good[np.abs(good - (length - side) / 2).argmin()])

    return along(weights.sum(0), width), along(weights.sum(1), height)


def _blurred(values: Any, sigma: float) -> Any:
    import numpy as np

    reach = int(3 * sigma + 0.5)
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(values, [(reach, reach) if axis == a else (0, 0) for a in (0, 1)], mode="edge")
        values = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    return values


def _lab(rgb: Any) -> Any:
    """CIE L*a*b* (D65) of sRGB values 0 to 1, last axis the channels (IEC 61966-2-1)."""
    import numpy as np

    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.moveaxis(np.cbrt(linear @ matrix.T / np.array([0.9505, 1.0, 1.089])), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
