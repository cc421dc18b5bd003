"""What a network's configuration says it holds: every tensor's Diffusers name and shape, without building it.

The names and shapes are those of Diffusers' and transformers' own classes, CLIP's with the `text_model.` prefix of the
hub's files; tests/test_keys.py compares them with the classes on torch's meta device.
"""

from fsd.weights.outlines.pieces import Config, Outline, layers_of
from fsd.weights.outlines.text import clip_outline, projected_clip_outline, t5_outline
from fsd.weights.outlines.transformers import flux_outline, sd3_outline
from fsd.weights.outlines.unet import sdxl_unet_outline, unet_outline
from fsd.weights.outlines.vae import vae_outline

__all__ = [
    "Config",
    "Outline",
    "clip_outline",
    "flux_outline",
    "layers_of",
    "projected_clip_outline",
    "sd3_outline",
    "sdxl_unet_outline",
    "t5_outline",
    "unet_outline",
    "vae_outline",
]
