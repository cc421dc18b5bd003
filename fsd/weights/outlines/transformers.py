"""The tensors of Diffusers' SD3Transformer2DModel and FluxTransformer2DModel."""

from __future__ import annotations

from fsd.errors import WeightsError
from fsd.weights.outlines.pieces import Config, Outline, linear, without

TIME = 256
"""Sinusoidal features of the timestep (and of the guidance), in both networks."""


def sd3_outline(config: Config) -> Outline:
    """The tensors of an SD3Transformer2DModel (SD 3.5 Medium: 909, Large: 1227)."""
    width = config["num_attention_heads"] * config["attention_head_dim"]
    if config["caption_projection_dim"] != width:
        what = f"caption_projection_dim is {config['caption_projection_dim']}, not {width}"
        raise WeightsError(what, "this model is of another kind")
    patch, last = config["patch_size"], config["num_layers"] - 1
    found: Outline = {
        "pos_embed.pos_embed": (1, config["pos_embed_max_size"] ** 2, width),
        "pos_embed.proj.weight": (width, config["in_channels"], patch, patch),
        "pos_embed.proj.bias": (width,),
    }
    found |= _embedding("time_text_embed.timestep_embedder", width, TIME)
    found |= _embedding("time_text_embed.text_embedder", width, config["pooled_projection_dim"])
    found |= linear("context_embedder", width, config["joint_attention_dim"])
    for layer in range(last + 1):
        found |= _sd3_block(f"transformer_blocks.{layer}", width, layer == last, layer, config)
    outputs = patch * patch * (config.get("out_channels") or config["in_channels"])
    return found | linear("norm_out.linear", 2 * width, width) | linear("proj_out", outputs, width)


def _sd3_block(stem: str, width: int, is_last: bool, layer: int, config: Config) -> Outline:
    """A joint block; the last one does not carry the text on. Dual layers attend to the picture once more."""
    dual = layer in (config.get("dual_attention_layers") or ())
    normed = {"norm_q", "norm_k"} if config.get("qk_norm") else set()
    found = linear(f"{stem}.norm1.linear", (9 if dual else 6) * width, width)
    found |= linear(f"{stem}.norm1_context.linear", (2 if is_last else 6) * width, width)
    found |= _attention(f"{stem}.attn", width, ("to_q", "to_k", "to_v"), normed, config)
    added = {"norm_added_q", "norm_added_k"} if normed else set()
    found |= _attention(f"{stem}.attn", width, ("add_q_proj", "add_k_proj", "add_v_proj"), added, config)
    found |= linear(f"{stem}.attn.to_out.0", width, width) | _feed_forward(f"{stem}.ff", width)
    if dual:
        found |= _attention(f"{stem}.attn2", width, ("to_q", "to_k", "to_v"), normed, config)
        found |= linear(f"{stem}.attn2.to_out.0", width, width)
    if not is_last:
        found |= linear(f"{stem}.attn.to_add_out", width, width) | _feed_forward(f"{stem}.ff_context", width)
    return found


def flux_outline(config: Config) -> Outline:
    """The tensors of a FluxTransformer2DModel (FLUX.1 dev: 1160 with the guidance embedding, schnell: 1156)."""
    without(config, "ip_adapter_image_proj", "encoder_hid_dim_type")
    width = config["num_attention_heads"] * config["attention_head_dim"]
    found = _embedding("time_text_embed.timestep_embedder", width, TIME)
    if config.get("guidance_embeds"):
        found |= _embedding("time_text_embed.guidance_embedder", width, TIME)
    found |= _embedding("time_text_embed.text_embedder", width, config["pooled_projection_dim"])
    found |= linear("context_embedder", width, config["joint_attention_dim"])
    found |= linear("x_embedder", width, config["in_channels"])
    for layer in range(config["num_layers"]):
        found |= _flux_block(f"transformer_blocks.{layer}", width, config)
    for layer in range(config["num_single_layers"]):
        stem = f"single_transformer_blocks.{layer}"
        found |= linear(f"{stem}.norm.linear", 3 * width, width)
        found |= _attention(f"{stem}.attn", width, ("to_q", "to_k", "to_v"), {"norm_q", "norm_k"}, config)
        found |= linear(f"{stem}.proj_mlp", 4 * width, width) | linear(f"{stem}.proj_out", width, 5 * width)
    outputs = config.get("patch_size", 1) ** 2 * (config.get("out_channels") or config["in_channels"])
    return found | linear("norm_out.linear", 2 * width, width) | linear("proj_out", outputs, width)


def _flux_block(stem: str, width: int, config: Config) -> Outline:
    found = linear(f"{stem}.norm1.linear", 6 * width, width) | linear(f"{stem}.norm1_context.linear", 6 * width, width)
    found |= _attention(f"{stem}.attn", width, ("to_q", "to_k", "to_v"), {"norm_q", "norm_k"}, config)
    added = ("add_q_proj", "add_k_proj", "add_v_proj")
    found |= _attention(f"{stem}.attn", width, added, {"norm_added_q", "norm_added_k"}, config)
    found |= linear(f"{stem}.attn.to_out.0", width, width) | linear(f"{stem}.attn.to_add_out", width, width)
    return found | _feed_forward(f"{stem}.ff", width) | _feed_forward(f"{stem}.ff_context", width)


def _attention(stem: str, width: int, names: tuple[str, ...], norms: set[str], config: Config) -> Outline:
    """Projections, in the order in which single files join them, and norms over each head."""
    found: Outline = {}
    for name in names:
        found |= linear(f"{stem}.{name}", width, width)
    return found | {f"{stem}.{name}.weight": (config["attention_head_dim"],) for name in sorted(norms)}


def _embedding(stem: str, width: int, inputs: int) -> Outline:
    return linear(f"{stem}.linear_1", width, inputs) | linear(f"{stem}.linear_2", width, width)


def _feed_forward(stem: str, width: int) -> Outline:
    return linear(f"{stem}.net.0.proj", 4 * width, width) | linear(f"{stem}.net.2", width, 4 * width)
