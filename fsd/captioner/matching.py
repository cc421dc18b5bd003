"""How well pictures and words agree, by BLIP-2 or BLIP: matching, contrast, and the vectors that both share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import normalize

from fsd.captioner.batching import in_batches
from fsd.captioner.opening import Captioner

MOST_TOKENS = 64
"""Of a text: what both models were trained with is shorter still."""


@dataclass(frozen=True)
class Score:
    """matching: the probability, 0 to 1, that words and picture belong together, of the head that sees both. contrast: the
    cosine, -1 to 1, of their vectors."""

    matching: float
    contrast: float


def score(captioner: Captioner, pictures: Sequence[Image], texts: Sequence[str], size: int = 0) -> list[Score]:
    """The scores of each picture with the text of the same place. captioner: opened to MATCH."""

    def work(pairs: list[tuple[Image, str]]) -> list[Score]:
        return score_batch(captioner, pairs)

    return [made for _, made in in_batches(zip(pictures, texts, strict=True), work, size)]


def score_batch(captioner: Captioner, pairs: Sequence[tuple[Image, str]]) -> list[Score]:
    """The scores of pictures and texts, all at once."""
    words = [text for _, text in pairs]
    with torch.inference_mode():
        seen = _seen(captioner, [picture for picture, _ in pairs])
        matching = _matching(captioner, seen, words)
        contrast = similarity(_picture_vectors(captioner, seen), embed_texts(captioner, words)).diagonal()
    return [Score(*row) for row in torch.stack([matching.float(), contrast.float()], dim=1).tolist()]


def embed_pictures(captioner: Captioner, pictures: Sequence[Image]) -> Tensor:
    """(B, Q, D) float32 vectors of length 1: BLIP-2 gives Q = 32 of a picture, BLIP one."""
    with torch.inference_mode():
        return _picture_vectors(captioner, _seen(captioner, pictures))


def embed_texts(captioner: Captioner, texts: Sequence[str]) -> Tensor:
    """(B, D) float32 vectors of length 1."""
    model = captioner.model
    ids, mask = captioner.tokens(texts, MOST_TOKENS)
    with torch.inference_mode():
        if captioner.queries:
            states = model.qformer(
                query_embeds=model.embeddings(input_ids=ids), query_length=0, attention_mask=mask
            ).last_hidden_state
            projection = model.text_projection
        else:
            states = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            projection = model.text_proj
        return normalize(projection(states[:, 0].to(projection.weight.dtype)).float(), dim=-1)


def similarity(pictures: Tensor, texts: Tensor) -> Tensor:
    """(B, T) cosines of pictures (B, Q, D) and texts (T, D): of the picture's vectors the one that is nearest counts."""
    return torch.einsum("bqd,td->btq", pictures, texts).amax(dim=-1)


def directions(pictures: Tensor) -> Tensor:
    """(B, Q * D): a vector of length 1 a picture (B, Q, D); the cosine of two is 1 for the same picture."""
    return normalize(pictures.flatten(1), dim=-1)


def _seen(captioner: Captioner, pictures: Sequence[Image]) -> Tensor:
    seen: Tensor = captioner.model.vision_model(pixel_values=captioner.pixels(pictures)).last_hidden_state
    return seen


def _picture_vectors(captioner: Captioner, seen: Tensor) -> Tensor:
    model = captioner.model
    if captioner.queries:
        states = _queried(captioner, seen)
        projection = model.vision_projection
    else:
        states, projection = seen[:, :1], model.vision_proj
    return normalize(projection(states.to(projection.weight.dtype)).float(), dim=-1)


def _queried(captioner: Captioner, seen: Tensor) -> Tensor:
    """(B, Q, H): what the Q-Former makes of a picture alone."""
    model = captioner.model
    return model.qformer(
        query_embeds=model.query_tokens.expand(len(seen), -1, -1), encoder_hidden_states=seen
    ).last_hidden_state


def _matching(captioner: Captioner, seen: Tensor, texts: Sequence[str]) -> Tensor:
    """(B,): the probability that each picture shows its text."""
    model = captioner.model
    ids, mask = captioner.tokens(texts, MOST_TOKENS)
    if captioner.queries:
        queries = model.query_tokens.expand(len(seen), -1, -1)
        states = model.qformer(
            query_embeds=model.embeddings(input_ids=ids, query_embeds=queries),
            query_length=captioner.queries,
            attention_mask=torch.cat([mask.new_ones(queries.shape[:2]), mask], dim=1),
            encoder_hidden_states=seen,
        ).last_hidden_state[:, : captioner.queries]
    else:
        states = model.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=seen
        ).last_hidden_state[:, :1]  # fmt: skip
    logits: Tensor = model.itm_head(states.to(model.itm_head.weight.dtype)).mean(dim=1)
    return logits.softmax(dim=-1)[:, 1]
