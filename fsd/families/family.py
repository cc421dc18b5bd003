"""What a model family is: facts as data, so that nothing branches on a family's name."""

from __future__ import annotations

from dataclasses import dataclass

WEB_UIS = ("a1111", "forge", "forge-neo", "comfyui")
"""AUTOMATIC1111 1.10.1, Forge (lllyasviel's main), Forge Neo (Haoming02's neo) and ComfyUI."""

CLIP_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
JOINT_TARGETS = (*UNET_TARGETS, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""Attention of pictures and texts together, in the transformers of SD 3.5 and Flux."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a source. name: inside the repository, with folders. None and "": not known."""

    name: str
    size_bytes: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Source:
    """Where a base model can be had: a Diffusers folder or, if `file` is set, that one file with the whole model.

    repository: "OWNER/NAME" on the hub, or "wheel:PACKAGE", a package whose `model_folder()` is a Diffusers folder.
    files: weights of the Diffusers folder whose size or SHA-256 is known.
    """

    repository: str
    revision: str = "main"
    file: RemoteFile | None = None
    files: tuple[RemoteFile, ...] = ()

    @property
    def package(self) -> str:
        """The package that holds the model, "" for a source on the hub."""
        kind, _, name = self.repository.partition(":")
        return name if kind == "wheel" else ""


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder. part: its folder. tokens: the most it reads, start and end included.

    lora_targets: the layers that a LoRA can change, by the ends of their names; empty: it is never trained.
    """

    part: str
    title: str
    tokens: int = 77
    lora_targets: tuple[str, ...] = CLIP_TARGETS


@dataclass(frozen=True)
class Method:
    """A way to train a family. name: "full", "lora" or "text_encoder" (the first stage alone).

    memory_gb: GPU memory (GB) of the leanest setting that people use. basis: that setting, and where the figure is from.
    estimate: reckoned by us, measured by nobody.
    """

    name: str
    memory_gb: float
    basis: str
    estimate: bool = False


@dataclass(frozen=True)
class ModelFamily:
    """One kind of model.

    sources: where the base model comes from, in the order tried; the next when one is gone.
    gated: the hub wants a token of an account that has accepted the licence.
    native_px: the side it was made at; usual_px: least and most that also work; allowed_px: what can be forced.
    latent_scale, latent_shift: latents = (z - shift) * scale, z being what the VAE's encoder gives.
    prediction: what the network predicts, "epsilon", "v_prediction" or "flow".
    backbone: "unet" or "transformer": the part's folder. lora_targets: as for a text encoder.
    layout: the single-file layout, a key of `fsd.weights.keys.LAYOUTS`.
    controlnets: the kind of ControlNet that fits; families of one kind share theirs.
    methods: how it can be trained; empty: not at all. web_uis: of WEB_UIS, those that run it.
    """

    name: str
    title: str
    sources: tuple[Source, ...]
    licence: str
    gated: bool
    native_px: int
    usual_px: tuple[int, int]
    allowed_px: tuple[int, int]
    latent_factor: int
    latent_channels: int
    latent_scale: float
    latent_shift: float
    prediction: str
    inpainting: bool
    text_encoders: tuple[TextEncoder, ...]
    backbone: str
    lora_targets: tuple[str, ...]
    layout: str
    controlnets: str
    methods: tuple[Method, ...]
    web_uis: tuple[str, ...]
    sample_steps: int
    guidance: float

    @property
    def text_tokens(self) -> int:
        """The tokens that the first text encoder reads, start and end included."""
        return self.text_encoders[0].tokens

    def method(self, name: str) -> Method | None:
        """The method of that name, None if the family cannot be trained so."""
        return next((method for method in self.methods if method.name == name), None)
