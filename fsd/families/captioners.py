"""What looks at photos and speaks of them, as data: checkpoints of BLIP-2 (Li et al. 2023) and BLIP (Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from fsd.errors import RecipeError

WRITE, ASK, MATCH, TEACH = "write captions", "answer questions", "score pictures and words", "be taught"

CLASSES: Mapping[str, Mapping[str, str]] = {
    "blip-2": {
        WRITE: "Blip2ForConditionalGeneration",
        ASK: "Blip2ForConditionalGeneration",
        TEACH: "Blip2ForConditionalGeneration",
        MATCH: "Blip2ForImageTextRetrieval",
    },
    "blip": {
        WRITE: "BlipForConditionalGeneration",
        ASK: "BlipForQuestionAnswering",
        MATCH: "BlipForImageTextRetrieval",
    },
}
"""The class in transformers that does each work, by the model_type of the checkpoint's config.json."""

_SPEAKS = (WRITE, ASK, TEACH)
_OPT_27B = {
    "model_type": "opt", "hidden_size": 2560, "word_embed_proj_dim": 2560, "ffn_dim": 10240, "num_hidden_layers": 32,
    "num_attention_heads": 32, "vocab_size": 50304,
}  # fmt: skip
_COCO_EYES = {"image_size": 364}
_QFORMER_WITH_TEXT = {"vocab_size": 30523, "use_qformer_text_input": True}


@dataclass(frozen=True)
class CaptionerRecord:
    """A checkpoint. repository: on the hub. works: what it is made for.

    shapes: of BLIP-2, what its config.json has otherwise than transformers' own configuration; None where the memory that
    it needs is not foreseen.
    """

    name: str
    title: str
    repository: str
    works: tuple[str, ...]
    shapes: Mapping[str, Any] | None = field(default=None, compare=False)


CAPTIONERS = {
    record.name: record
    for record in (
        CaptionerRecord(
            "blip2", "BLIP-2 OPT 2.7B, COCO", "Salesforce/blip2-opt-2.7b-coco", _SPEAKS,
            {"vision_config": _COCO_EYES, "text_config": _OPT_27B},
        ),
        CaptionerRecord("blip2-flan-t5", "BLIP-2 Flan-T5 XL, COCO", "Salesforce/blip2-flan-t5-xl-coco", _SPEAKS),
        CaptionerRecord(
            "blip2-itm", "BLIP-2 matching, COCO", "Salesforce/blip2-itm-vit-g-coco", (MATCH,),
            {"vision_config": _COCO_EYES, "qformer_config": _QFORMER_WITH_TEXT},
        ),
        CaptionerRecord("blip", "BLIP large", "Salesforce/blip-image-captioning-large", (WRITE,)),
        CaptionerRecord("blip-vqa", "BLIP for questions", "Salesforce/blip-vqa-base", (ASK,)),
        CaptionerRecord("blip-itm", "BLIP matching, COCO", "Salesforce/blip-itm-base-coco", (MATCH,)),
    )
}  # fmt: skip


def captioner_record(name: str) -> CaptionerRecord:
    """The record of that short name; RecipeError with the names there are."""
    if record := CAPTIONERS.get(name):
        return record
    close = get_close_matches(name, CAPTIONERS, n=1)
    known = f"did you mean {close[0]!r}?" if close else f"choose one of: {', '.join(CAPTIONERS)}"
    raise RecipeError(f"there is no captioner {name!r}", f"{known} Or OWNER/NAME on the hub, or a folder")
