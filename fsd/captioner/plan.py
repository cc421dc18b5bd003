"""The memory that captioning and teaching need, from a captioner's real shapes: nothing is downloaded or computed.

`python -m fsd.captioner.plan JSON` for `fsd plan blip2`. JSON: captioner, device, rank, batch_size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fsd.captioner.lessons import MOST_TOKENS, Batch
from fsd.captioner.opening import QUANTIZED_NOT, Captioner
from fsd.captioner.taught import learning_parts
from fsd.captioner.teach import caption_loss
from fsd.data.generation import GENERATION
from fsd.families.captioners import captioner_record
from fsd.runtime.child import stage_main
from fsd.train.footprint import QUANTIZED_BYTES
from fsd.train.meter import Meter, attention_on

_LIBRARIES_BYTES = 600 << 20
_DTYPES = {"cuda": torch.float16, "cpu": torch.float32}


def main(arguments: list[str]) -> dict[str, Any]:
    """{"caption": {quantize: bytes by what they are}, "teach": bytes by what they are, "adapter_bytes"}."""
    asked = json.loads(arguments[0])
    shapes = captioner_record(asked["captioner"]).shapes or {}
    device, dtype = asked["device"], _DTYPES[asked["device"]]
    model = on_meta(shapes, dtype)
    found = {quantize: captioning_bytes(model, quantize, device) for quantize in QUANTIZED_BYTES}
    if not hasattr(model, "language_model"):
        return {"caption": found, "teach": None, "adapter_bytes": 0}
    teaching, learned = teaching_bytes(model, asked["rank"], asked["batch_size"], device)
    return {"caption": found, "teach": teaching, "adapter_bytes": 2 * learned}


def on_meta(shapes: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """A BLIP-2 of these shapes without content: the one that speaks, or the one that matches."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval

    matches = shapes.get("qformer_config", {}).get("use_qformer_text_input")
    kind = Blip2ForImageTextRetrieval if matches else Blip2ForConditionalGeneration
    with torch.device("meta"):
        model = kind(Blip2Config(**shapes)).to(dtype)
    model.qformer.float()
    model.query_tokens.data = model.query_tokens.data.float()
    if hasattr(model, "language_model"):  # whose other attention asks what its mask holds, which here is nothing
        model.language_model.set_attn_implementation("eager")
    return model.eval().requires_grad_(False)


def captioning_bytes(model: Any, quantize: str, device: str) -> dict[str, int]:
    """What it takes to caption one picture: weights, and what one step of the beams holds."""
    found = {"libraries": _LIBRARIES_BYTES, "weights": _held(model, quantize)}
    config = model.config
    with torch.no_grad(), attention_on(device), Meter() as eyes:
        pixels = torch.empty(1, 3, config.vision_config.image_size, config.vision_config.image_size, device="meta")
        seen = model.vision_model(pixel_values=pixels.to(_DTYPES[device])).last_hidden_state
        model.qformer(query_embeds=model.query_tokens, encoder_hidden_states=seen.float())
    found["a picture"] = eyes.peak
    if hasattr(model, "language_model"):
        text, beams = config.text_config, GENERATION["num_beams"]
        tokens = config.num_query_tokens + GENERATION["max_new_tokens"]
        each = 2 * text.num_hidden_layers * text.hidden_size * seen.element_size()
        found["a picture"] = max(eyes.peak, beams * tokens * each + beams * tokens * 4 * text.vocab_size)
    return found


def teaching_bytes(model: Any, rank: int, batch_size: int, device: str) -> tuple[dict[str, int], int]:
    """(what teaching takes, by what it is; how many numbers learn). The vision encoder has left memory by then."""
    eyes = model.vision_model
    model.vision_model = None
    parts = learning_parts(Captioner(model, None, None, "blip-2", _DTYPES[device]), rank, 0)
    learned = sum(weight.numel() for part in parts.values() for weight in part.parameters() if weight.requires_grad)
    config = model.config
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2 + 1
    seen = torch.empty(batch_size, patches, config.vision_config.hidden_size, device="meta")
    ids = torch.zeros(batch_size, MOST_TOKENS, dtype=torch.long, device="meta")
    with attention_on(device), Meter() as meter:
        caption_loss(model, Batch(seen, ids, None, 0)).backward()
    model.vision_model = eyes
    held = _held(model, "none") - _held(eyes, "none")
    found = {
        "libraries": _LIBRARIES_BYTES, "weights": held, "optimizer": 8 * learned, "gradients and activations": meter.peak
    }  # fmt: skip
    return found, learned


def _held(module: nn.Module, quantize: str) -> int:
    """The bytes of a module's weights, those of the linear layers that are quantized at their smaller size."""
    small: dict[int, float] = {}
    for name, layer in module.named_modules():
        if quantize != "none" and isinstance(layer, nn.Linear) and not set(name.split(".")) & set(QUANTIZED_NOT):
            small[id(layer.weight)] = layer.weight.numel() * QUANTIZED_BYTES[quantize]
    return round(sum(small.get(id(weight), _bytes(weight)) for weight in module.parameters()))


def _bytes(weight: Tensor) -> int:
    return weight.numel() * weight.element_size()


if __name__ == "__main__":
    stage_main(main)
