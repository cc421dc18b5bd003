"""Stable Diffusion 1 at other widths than its own, for AUTOMATIC1111: classes that a model's .yaml names as `target`.

The installation puts this file into the web UI's own Python environment; fsd itself never imports it. The code base that
AUTOMATIC1111 runs fixes its group norms at 32 groups, and takes whole multiples of the first width alone; a small
model, such as the embedded tiny base, has fewer groups and other widths.
"""

from contextlib import contextmanager
from functools import partial

from ldm.models import autoencoder
from ldm.modules import attention
from ldm.modules.diffusionmodules import model, openaimodel
from ldm.modules.diffusionmodules.util import GroupNorm32


class Width(int):
    """A number of channels; times a fraction it is a whole number still."""

    def __mul__(self, factor):  # type: ignore[no-untyped-def]
        return Width(round(int(self) * factor))

    __rmul__ = __mul__


@contextmanager
def norm_groups(groups):  # type: ignore[no-untyped-def]
    """While a network is built inside, its norms get so many groups."""
    before = openaimodel.normalization, attention.Normalize, model.Normalize
    openaimodel.normalization = partial(GroupNorm32, groups)
    attention.Normalize = model.Normalize = partial(before[2], num_groups=groups)
    try:
        yield
    finally:
        openaimodel.normalization, attention.Normalize, model.Normalize = before


class SmallUNet(openaimodel.UNetModel):
    """The UNet with `groups` groups in its norms."""

    def __init__(self, groups, model_channels, **settings):  # type: ignore[no-untyped-def]
        with norm_groups(groups):
            super().__init__(model_channels=Width(model_channels), **settings)


class SmallAutoencoder(autoencoder.AutoencoderKL):
    """The VAE with `groups` groups in its norms."""

    def __init__(self, groups, ddconfig, **settings):  # type: ignore[no-untyped-def]
        with norm_groups(groups):
            super().__init__(ddconfig={**ddconfig, "ch": Width(ddconfig["ch"])}, **settings)
