"""What a captioner says of pictures: captions and answers, never with the words that it was asked in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from fsd.captioner.opening import Captioner
from fsd.errors import RecipeError, WeightsError

QUESTION = "Question: {} Answer:"
"""How BLIP-2 was asked in its paper (Li et al. 2023, section 4.1); BLIP's question model takes a question as it is."""


def generation_config(settings: dict[str, Any]) -> Any:
    """transformers' GenerationConfig of these settings; RecipeError when there is no such setting, or it cannot be so."""
    from transformers import GenerationConfig

    known = GenerationConfig().to_dict()
    if unknown := sorted(settings.keys() - known.keys()):
        raise RecipeError(
            f"there is no generation setting {', '.join(unknown)}",
            "such as num_beams, temperature, top_p, min_new_tokens, max_new_tokens",
        )
    if settings.get("num_return_sequences", 1) != 1 or settings.get("return_dict_in_generate"):
        what = "num_return_sequences and return_dict_in_generate cannot be set: each photo has one caption"
        raise RecipeError(what, "leave them out")
    try:
        found = GenerationConfig(**settings)
        found.validate(strict=True)
    except (ValueError, TypeError) as fault:
        told = " ".join(str(fault).split())
        raise RecipeError(f"these generation settings cannot be used: {told}", "change them and run again") from None
    return found


def say(captioner: Captioner, pictures: Sequence[Image], prompt: str, generation: Any) -> list[str]:
    """What the captioner writes of each picture after `prompt`, without the prompt."""
    with torch.inference_mode():
        pixels = captioner.pixels(pictures)
        ids, mask = _prompt_ids(captioner, prompt, len(pictures))
        made = captioner.model.generate(
            pixel_values=pixels, input_ids=ids.clone(), attention_mask=mask, generation_config=generation
        )
    asked = _asked(captioner, ids)
    if asked and made.shape[1] >= asked and torch.equal(made[:, 1:asked], ids[:, 1:asked]):
        made = made[:, asked:]
    return [" ".join(text.split()) for text in captioner.tokenizer.batch_decode(made, skip_special_tokens=True)]


def answer(captioner: Captioner, pictures: Sequence[Image], question: str, generation: Any) -> list[str]:
    """The captioner's answer to a question about each picture."""
    if captioner.kind != "blip":
        return say(captioner, pictures, QUESTION.format(question), generation)
    with torch.inference_mode():
        pixels = captioner.pixels(pictures)
        ids, mask = captioner.tokens([question] * len(pictures))
        made = captioner.model.generate(
            pixel_values=pixels, input_ids=ids, attention_mask=mask, generation_config=generation
        )
    return [" ".join(text.split()) for text in captioner.tokenizer.batch_decode(made, skip_special_tokens=True)]


def picture_token(captioner: Captioner) -> int:
    """The token that stands for each of BLIP-2's picture vectors; WeightsError where the model has none."""
    token = getattr(captioner.model.config, "image_token_index", None)
    if token is None:
        what = f"{captioner.model.config.name_or_path} has no image_token_index in its config.json"
        raise WeightsError(what, "take a newer revision of the model: this one is from before transformers 4.46")
    return int(token)


def _prompt_ids(captioner: Captioner, prompt: str, count: int) -> tuple[Tensor, Tensor]:
    """(ids, mask), each (count, T): the places of the picture's vectors, where the model has such, then the prompt."""
    ids, mask = captioner.tokens([prompt] * count)
    if captioner.queries:
        ids, mask = _begun(captioner, ids.long(), mask)
        places = ids.new_full((count, captioner.queries), picture_token(captioner))
        ids, mask = torch.cat([places, ids], dim=1), torch.cat([torch.ones_like(places), mask], dim=1)
    return ids, mask


def _begun(captioner: Captioner, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The prompt with the token that begins every text of a language model that only decodes, where it lacks that."""
    if not captioner.model.config.use_decoder_only_language_model:
        return ids, mask
    begin = captioner.model.config.text_config.bos_token_id
    if ids.shape[1] and int(ids[0, 0]) == begin:
        return ids, mask
    first = ids.new_full((len(ids), 1), begin)
    return torch.cat([first, ids], dim=1), torch.cat([torch.ones_like(first), mask.long()], dim=1)


def _asked(captioner: Captioner, ids: Tensor) -> int:
    """How many of the generated tokens may be those that were given: BLIP leaves out the prompt's end."""
    return ids.shape[1] if captioner.queries else ids.shape[1] - 1
