"""Text encoders in single files: CLIP by transformers' names, OpenCLIP by its own, T5."""

from __future__ import annotations

from fsd.weights.layouts.layout import PartLayout
from fsd.weights.outlines import clip_outline, projected_clip_outline, t5_outline

POSITIONS = r"embeddings\.position_ids$"
NESTED = (r"^(?=(embeddings|encoder|final_layer_norm)\.)", "text_model.")
"""transformers 5 leaves the prefix out of CLIPTextModel; the web UIs want it."""


def clip(name: str, prefix: str) -> PartLayout:
    """A CLIPTextModel; some files hold the projection too, which it does without."""
    return PartLayout(
        name, prefix, clip_outline, aliases=(NESTED,), left_out=(POSITIONS, r"(^|\.)text_projection(\.weight)?$")
    )


def projected_clip(name: str, prefix: str) -> PartLayout:
    """A CLIPTextModelWithProjection by its own names."""
    return PartLayout(name, prefix, projected_clip_outline, aliases=(NESTED,), left_out=(POSITIONS,))


def open_clip(name: str, prefix: str, projected: bool) -> PartLayout:
    """OpenCLIP's names: query, key and value in one matrix; its projection stands the other way round.

    Without projection it ends a layer early: the original file holds one layer more, which nothing runs.
    """
    return PartLayout(
        name,
        prefix,
        projected_clip_outline if projected else clip_outline,
        renames=(
            *(
                (f"self_attn.{letter}_proj.{kind}", f"self_attn.in_proj_{kind}")
                for letter in "qkv"
                for kind in ("weight", "bias")
            ),
            ("text_model.encoder.layers.{i}.self_attn.", "transformer.resblocks.{i}.attn."),
            ("text_model.encoder.layers.{i}.layer_norm1.", "transformer.resblocks.{i}.ln_1."),
            ("text_model.encoder.layers.{i}.layer_norm2.", "transformer.resblocks.{i}.ln_2."),
            ("text_model.encoder.layers.{i}.mlp.fc1.", "transformer.resblocks.{i}.mlp.c_fc."),
            ("text_model.encoder.layers.{i}.mlp.fc2.", "transformer.resblocks.{i}.mlp.c_proj."),
            ("text_model.embeddings.token_embedding.", "token_embedding."),
            ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
            ("text_model.final_layer_norm.", "ln_final."),
            ("text_projection.weight", "text_projection"),
        ),
        aliases=(NESTED,),
        left_out=(
            POSITIONS,
            r"(^|\.)(logit_scale|attn_mask)$",
            *(() if projected else (r"(^|\.)text_projection(\.weight)?$", r"\.resblocks\.{layers}\.")),
        ),
        joined=("in_proj_weight", "in_proj_bias"),
        transposed=(r"^text_projection\.weight$",),
    )


def t5(name: str, prefix: str) -> PartLayout:
    """A T5EncoderModel; its input embedding stands there by both of its names, and is read by either.

    The original files repeat it, and Diffusers cannot read a file that does not (with transformers 5).
    """
    return PartLayout(
        name,
        prefix,
        t5_outline,
        aliases=((r"^encoder\.embed_tokens\.", "shared."),),
        left_out=(r"(^|\.)encoder\.embed_tokens\.weight$",),
        repeated=(("shared.weight", "encoder.embed_tokens.weight"),),
    )
