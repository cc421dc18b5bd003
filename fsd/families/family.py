"""What a model family is: facts as data, so that nothing branches on a family's name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelFamily:
    """One kind of model that can be trained.

    prediction: what the network predicts, "epsilon", "v_prediction" or "flow".
    sources: where the base model comes from, in the order tried: a hub repository ("owner/name") or "wheel:PACKAGE",
    a package whose `model_folder()` is a Diffusers folder.
    layout: the single-file layout, a key of `fsd.weights.keys.LAYOUTS`.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    licence: str
    native_px: int
    allowed_px: tuple[int, int]
    latent_factor: int
    latent_channels: int
    prediction: str
    text_tokens: int
    layout: str
    sample_steps: int
    guidance: float
