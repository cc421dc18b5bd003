"""Settings of a recipe that belong together, each a frozen group with its units and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fsd.settings import FREE


@dataclass(frozen=True)
class TextEncoderStage:
    """Stage 1. unet: "frozen" trains the text encoder alone; "joint" trains the UNet with it and throws that away."""

    steps: int = 350
    learning_rate: float = 1e-6
    unet: Literal["frozen", "joint"] = "frozen"


@dataclass(frozen=True)
class UNetStage:
    """Stage 2: the UNet, with the text encoder of stage 1 frozen."""

    steps: int = 1500
    learning_rate: float = 2e-6


@dataclass(frozen=True)
class Prior:
    """Prior preservation (Ruiz et al. 2022, section 3.2). images: 0 turns it off. weight: of the class images' loss.

    prompts: what the class images are made from; empty means the class prompt alone. They are used in turn.
    """

    images: int = 0
    weight: float = 1.0
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Save:
    """When the state is saved: every `every_steps` steps from step `from_step` on; `keep` checkpoints a stage stay."""

    every_steps: int = field(default=500, metadata=FREE)
    from_step: int = field(default=0, metadata=FREE)
    keep: int = field(default=2, metadata=FREE)


@dataclass(frozen=True)
class Samples:
    """Pictures made while training: every `every_steps` steps (0: none) and at a stage's end, from `prompts`.

    prompts: empty means the instance prompt.
    """

    every_steps: int = field(default=0, metadata=FREE)
    at_end: bool = field(default=True, metadata=FREE)
    prompts: tuple[str, ...] = field(default=(), metadata=FREE)
    seed: int = field(default=0, metadata=FREE)


@dataclass(frozen=True)
class Validation:
    """The loss at fixed timesteps and noise, which shows what a step's random ones hide: every `every_steps` steps (0:
    never) and at a stage's end, on the photos that are held out, else on all. draws: of timestep and noise a photo.
    """

    every_steps: int = field(default=0, metadata=FREE)
    draws: int = field(default=4, metadata=FREE)


@dataclass(frozen=True)
class LoraStage:
    """A LoRA in the place of whole weights (Hu et al. 2021): of the backbone and, if wanted, of the CLIP text encoders.

    rank: of its matrices. alpha: the change is alpha / rank times their product (0: as the rank), or alpha over the
    square root of the rank with `rank_stabilized` (Kalajdzievski 2023). dropout: the share of its inputs left out.
    targets: ends of the layers' names; empty: the family's attention. text_learning_rate: of the text encoders' part.
    quantize: hold the backbone's own weights in 8 or 4 bits, by bitsandbytes.
    """

    steps: int = 1500
    learning_rate: float = 1e-4
    rank: int = 16
    alpha: int = 0
    dropout: float = 0.0
    rank_stabilized: bool = False
    targets: tuple[str, ...] = ()
    text_encoders: bool = False
    text_learning_rate: float = 5e-5
    quantize: Literal["none", "int8", "nf4"] = "none"


@dataclass(frozen=True)
class CaptionerStage:
    """Teaching a captioner your words: BLIP-2's Q-Former learns the captions that the session's photos have.

    model: a short name such as "blip2", OWNER/NAME on the hub, or a folder. matcher: the one that scores and searches.
    batch_size: photos a step. rank: of a LoRA on the language model beside it (0: none).
    """

    model: str = field(default="blip2", metadata=FREE)
    matcher: str = field(default="blip2-itm", metadata=FREE)
    steps: int = field(default=200, metadata=FREE)
    learning_rate: float = field(default=1e-5, metadata=FREE)
    batch_size: int = field(default=4, metadata=FREE)
    rank: int = field(default=0, metadata=FREE)


@dataclass(frozen=True)
class Augment:
    """Copies of each photo beside it, made once: every other one mirrored, and each shifted by up to 8 %."""

    copies: int = 0
    mirror: bool = True
    shift: bool = True


@dataclass(frozen=True)
class Mask:
    """Where the loss of a photo counts in full; elsewhere it counts `outside` as much.

    of: "drawn" takes what you drew, masks/STEM.png in the session, white where the subject is; "subject" also finds the
    subject in photos without one.
    """

    of: Literal["none", "drawn", "subject"] = "none"
    outside: float = 0.1


@dataclass(frozen=True)
class Captions:
    """How captions vary from step to step.

    dropout: the share of steps in which a photo has none, for guidance without a prompt. shuffles: other orders of
    what its commas part, made once; the first `keep` parts stay in front.
    """

    dropout: float = 0.0
    shuffles: int = 0
    keep: int = 1
