"""A captioner in memory: BLIP-2 or BLIP, in the precision that was asked for, with what was taught to it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from safetensors import SafetensorError
from torch import Tensor

from fsd.errors import WeightsError
from fsd.families.captioners import CLASSES
from fsd.train.device import DTYPES, choose_precision, quantization
from fsd.weights.captioner_folder import need_work

QUANTIZED_NOT = (
    "qformer", "language_projection", "lm_head", "predictions.decoder",
    "itm_head", "vision_projection", "text_projection", "vision_proj", "text_proj",
)  # fmt: skip
"""Parts whose linear layers are never quantized: small ones, and those that share their weights with embeddings."""


@dataclass(frozen=True)
class Captioner:
    """A model with what prepares its inputs. kind: its model_type. dtype: of pictures and of the frozen parts."""

    model: Any
    tokenizer: Any
    image_processor: Any
    kind: str
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def queries(self) -> int:
        """How many vectors BLIP-2's Q-Former makes of a picture; 0 for BLIP."""
        return int(getattr(self.model.config, "num_query_tokens", 0))

    def pixels(self, pictures: Sequence[Image]) -> Tensor:
        """(B, 3, H, W): RGB pictures of any size as the model sees them, on its device."""
        made = self.image_processor(images=[picture.convert("RGB") for picture in pictures], return_tensors="pt")
        return made["pixel_values"].to(self.device, self.dtype)

    def tokens(self, texts: Sequence[str], most: int = 0) -> tuple[Tensor, Tensor]:
        """(ids, mask), each (B, T) int64 and padded on the right, on the device. most: tokens that are read (0: any)."""
        limit = {"truncation": True, "max_length": most} if most else {}
        made = self.tokenizer(list(texts), padding=True, padding_side="right", return_tensors="pt", **limit)
        return made["input_ids"].to(self.device), made["attention_mask"].to(self.device)


def open_captioner(folder: Path, work: str, precision: str = "auto", quantize: str = "none") -> Captioner:
    """The captioner in a folder of transformers' layout, ready for one of `captioners.CLASSES`' works.

    precision: "auto" is bf16 or fp16 on a GPU, by what it has, and fp32 on a CPU. quantize: "none", "int8" or "nf4" (by
    bitsandbytes), of all linear layers but the Q-Former's. WeightsError when the model is not made for the work.
    """
    kind = need_work(folder, work)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = DTYPES[choose_precision(precision)]
    more: dict[str, Any] = {}
    if quantize != "none":
        skipped = {"llm_int8_skip_modules": list(QUANTIZED_NOT)}
        more["quantization_config"] = quantization("transformers", quantize, dtype, "quantize", **skipped)
    model = _loaded(getattr(importlib.import_module("transformers"), CLASSES[kind][work]), folder, dtype=dtype, **more)
    if not more:
        model = model.to(device)
    return Captioner(model.eval().requires_grad_(False), _tokenizer(folder), _image_processor(folder), kind, dtype)


def _loaded(kind: Any, folder: Path, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as fault:
        first = str(fault).strip().partition("\n")[0]
        raise WeightsError(f"{folder} cannot be loaded: {first}", "download the model again") from fault


def _tokenizer(folder: Path) -> Any:
    """The tokenizer as its file has it, whatever class of today's transformers its configuration names."""
    transformers = importlib.import_module("transformers")
    whole = (folder / "tokenizer.json").is_file()
    return _loaded(transformers.PreTrainedTokenizerFast if whole else transformers.AutoTokenizer, folder)


def _image_processor(folder: Path) -> Any:
    """The image processor; by its own class where the automatic choice wants torchvision (transformers 5.15)."""
    transformers = importlib.import_module("transformers")
    try:
        return _loaded(transformers.AutoImageProcessor, folder)
    except ImportError:
        return _loaded(transformers.BlipImageProcessorPil, folder)
