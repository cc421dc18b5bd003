"""The tensors of transformers' text encoders: CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel."""

from __future__ import annotations

from fsd.errors import WeightsError
from fsd.weights.outlines.pieces import Config, Outline, linear, norm


def clip_outline(config: Config) -> Outline:
    """The tensors of a CLIPTextModel: 16 a layer and 4 (OpenAI's CLIP-L: 196), named `text_model.` as on the hub."""
    width, inner = config.get("hidden_size", 512), config.get("intermediate_size", 2048)
    found: Outline = {
        "text_model.embeddings.token_embedding.weight": (config.get("vocab_size", 49408), width),
        "text_model.embeddings.position_embedding.weight": (config.get("max_position_embeddings", 77), width),
    }
    for layer in range(config.get("num_hidden_layers", 12)):
        stem = f"text_model.encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= linear(f"{stem}.self_attn.{name}", width, width)
        found |= norm(f"{stem}.layer_norm1", width) | norm(f"{stem}.layer_norm2", width)
        found |= linear(f"{stem}.mlp.fc1", inner, width) | linear(f"{stem}.mlp.fc2", width, inner)
    return found | norm("text_model.final_layer_norm", width)


def projected_clip_outline(config: Config) -> Outline:
    """The tensors of a CLIPTextModelWithProjection: one more (OpenCLIP's bigG: 517)."""
    projection = (config.get("projection_dim", 512), config.get("hidden_size", 512))
    return clip_outline(config) | {"text_projection.weight": projection}


def t5_outline(config: Config) -> Outline:
    """The tensors of a T5EncoderModel with gated layers (T5 v1.1 XXL: 219); its input embedding is called `shared`."""
    if not (config.get("is_gated_act") or str(config.get("feed_forward_proj", "")).startswith("gated-")):
        raise WeightsError("the T5 text encoder has no gated layers", "SD 3 and Flux need a T5 v1.1")
    width, inner, heads = config["d_model"], config["d_ff"], config["num_heads"]
    found: Outline = {"shared.weight": (config["vocab_size"], width)}
    for layer in range(config["num_layers"]):
        stem = f"encoder.block.{layer}.layer"
        for name in ("q", "k", "v"):
            found[f"{stem}.0.SelfAttention.{name}.weight"] = (heads * config["d_kv"], width)
        found[f"{stem}.0.SelfAttention.o.weight"] = (width, heads * config["d_kv"])
        if layer == 0:
            buckets = config.get("relative_attention_num_buckets", 32)
            found[f"{stem}.0.SelfAttention.relative_attention_bias.weight"] = (buckets, heads)
        found[f"{stem}.0.layer_norm.weight"] = found[f"{stem}.1.layer_norm.weight"] = (width,)
        found[f"{stem}.1.DenseReluDense.wi_0.weight"] = found[f"{stem}.1.DenseReluDense.wi_1.weight"] = (inner, width)
        found[f"{stem}.1.DenseReluDense.wo.weight"] = (width, inner)
    return found | {"encoder.final_layer_norm.weight": (width,)}
