"""What a network's configuration says it holds: every tensor's Diffusers name and shape, without building it.

The names and shapes are those of Diffusers' UNet2DConditionModel and AutoencoderKL and transformers' CLIPTextModel
(with the `text_model.` prefix of the hub's files); tests/test_keys.py compares them on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsd.errors import WeightsError
from fsd.weights.tensors import Shape

Config = Mapping[str, Any]
Outline = dict[str, Shape]


def clip_outline(config: Config) -> Outline:
    """The tensors of a CLIPTextModel: 16 a layer and 4 (OpenAI's CLIP-L: 196)."""
    width, inner = config.get("hidden_size", 512), config.get("intermediate_size", 2048)
    found: Outline = {
        "text_model.embeddings.token_embedding.weight": (config.get("vocab_size", 49408), width),
        "text_model.embeddings.position_embedding.weight": (config.get("max_position_embeddings", 77), width),
    }
    for layer in range(config.get("num_hidden_layers", 12)):
        stem = f"text_model.encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= _with_bias(f"{stem}.self_attn.{name}", width, width)
        found |= _norm(f"{stem}.layer_norm1", width) | _norm(f"{stem}.layer_norm2", width)
        found |= _with_bias(f"{stem}.mlp.fc1", inner, width) | _with_bias(f"{stem}.mlp.fc2", width, inner)
    return found | _norm("text_model.final_layer_norm", width)


def unet_outline(config: Config) -> Outline:
    """The tensors of a UNet2DConditionModel of plain and cross-attention blocks (SD 1.5: 686)."""
    _only(config, "down_block_types", {"DownBlock2D", "CrossAttnDownBlock2D"})
    _only(config, "up_block_types", {"UpBlock2D", "CrossAttnUpBlock2D"})
    _without(config, "class_embed_type", "addition_embed_type", "encoder_hid_dim", "time_embedding_dim")
    widths, layers = config["block_out_channels"], layers_of(config)
    last, time = len(widths) - 1, widths[0] * 4
    found = _conv("conv_in", widths[0], config["in_channels"])
    found |= _with_bias("time_embedding.linear_1", time, widths[0])
    found |= _with_bias("time_embedding.linear_2", time, time)
    for i, width in enumerate(widths):
        for j in range(layers):
            found |= _resnet(f"down_blocks.{i}.resnets.{j}", widths[max(i - 1, 0)] if j == 0 else width, width, time)
            if "CrossAttn" in config["down_block_types"][i]:
                found |= _transformer(f"down_blocks.{i}.attentions.{j}", width, config)
        if i < last:
            found |= _conv(f"down_blocks.{i}.downsamplers.0.conv", width, width)
    for j in (0, 1):
        found |= _resnet(f"mid_block.resnets.{j}", widths[-1], widths[-1], time)
    found |= _transformer("mid_block.attentions.0", widths[-1], config) | _up_blocks(config, time)
    return found | _norm("conv_norm_out", widths[0]) | _conv("conv_out", config["out_channels"], widths[0])


def _up_blocks(config: Config, time: int) -> Outline:
    found: Outline = {}
    widths, layers = config["block_out_channels"][::-1], layers_of(config)
    last = len(widths) - 1
    for i, width in enumerate(widths):
        for j in range(layers + 1):
            below = widths[max(i - 1, 0)] if j == 0 else width
            skip = widths[min(i + 1, last)] if j == layers else width
            found |= _resnet(f"up_blocks.{i}.resnets.{j}", below + skip, width, time)
            if "CrossAttn" in config["up_block_types"][i]:
                found |= _transformer(f"up_blocks.{i}.attentions.{j}", width, config)
        if i < last:
            found |= _conv(f"up_blocks.{i}.upsamplers.0.conv", width, width)
    return found


def vae_outline(config: Config) -> Outline:
    """The tensors of an AutoencoderKL (SD 1.5: 248)."""
    _only(config, "down_block_types", {"DownEncoderBlock2D"})
    _only(config, "up_block_types", {"UpDecoderBlock2D"})
    widths, layers, latent = config["block_out_channels"], layers_of(config), config["latent_channels"]
    last = len(widths) - 1
    found = _conv("encoder.conv_in", widths[0], config["in_channels"])
    found |= _conv("decoder.conv_in", widths[-1], latent)
    for i, width in enumerate(widths):
        for j in range(layers):
            found |= _resnet(f"encoder.down_blocks.{i}.resnets.{j}", widths[max(i - 1, 0)] if j == 0 else width, width)
        if i < last:
            found |= _conv(f"encoder.down_blocks.{i}.downsamplers.0.conv", width, width)
    for i, width in enumerate(upward := widths[::-1]):
        for j in range(layers + 1):
            found |= _resnet(f"decoder.up_blocks.{i}.resnets.{j}", upward[max(i - 1, 0)] if j == 0 else width, width)
        if i < last:
            found |= _conv(f"decoder.up_blocks.{i}.upsamplers.0.conv", width, width)
    for side, end, channels in (("encoder", widths[-1], 2 * latent), ("decoder", widths[0], config["out_channels"])):
        found |= _vae_middle(f"{side}.mid_block", widths[-1])
        found |= _norm(f"{side}.conv_norm_out", end) | _conv(f"{side}.conv_out", channels, end)
    if config.get("use_quant_conv", True):
        found |= _conv("quant_conv", 2 * latent, 2 * latent, 1)
    if config.get("use_post_quant_conv", True):
        found |= _conv("post_quant_conv", latent, latent, 1)
    return found


def _vae_middle(stem: str, width: int) -> Outline:
    found = _resnet(f"{stem}.resnets.0", width, width) | _resnet(f"{stem}.resnets.1", width, width)
    found |= _norm(f"{stem}.attentions.0.group_norm", width)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        found |= _with_bias(f"{stem}.attentions.0.{name}", width, width)
    return found


def _resnet(stem: str, inputs: int, outputs: int, time: int = 0) -> Outline:
    found = _norm(f"{stem}.norm1", inputs) | _conv(f"{stem}.conv1", outputs, inputs)
    found |= _norm(f"{stem}.norm2", outputs) | _conv(f"{stem}.conv2", outputs, outputs)
    if time:
        found |= _with_bias(f"{stem}.time_emb_proj", outputs, time)
    return found if inputs == outputs else found | _conv(f"{stem}.conv_shortcut", outputs, inputs, 1)


def _transformer(stem: str, width: int, config: Config) -> Outline:
    found = _norm(f"{stem}.norm", width)
    kernel = () if config.get("use_linear_projection") else (1, 1)
    for name in ("proj_in", "proj_out"):
        found |= {f"{stem}.{name}.weight": (width, width, *kernel), f"{stem}.{name}.bias": (width,)}
    block = f"{stem}.transformer_blocks.0"
    for number, context in ((1, width), (2, config["cross_attention_dim"])):
        for name, inputs in (("to_q", width), ("to_k", context), ("to_v", context)):
            found[f"{block}.attn{number}.{name}.weight"] = (width, inputs)
        found |= _with_bias(f"{block}.attn{number}.to_out.0", width, width)
    for number in (1, 2, 3):
        found |= _norm(f"{block}.norm{number}", width)
    found |= _with_bias(f"{block}.ff.net.0.proj", 8 * width, width)
    return found | _with_bias(f"{block}.ff.net.2", width, 4 * width)


def _norm(stem: str, width: int) -> Outline:
    return {f"{stem}.weight": (width,), f"{stem}.bias": (width,)}


def _with_bias(stem: str, outputs: int, inputs: int) -> Outline:
    return {f"{stem}.weight": (outputs, inputs), f"{stem}.bias": (outputs,)}


def _conv(stem: str, outputs: int, inputs: int, kernel: int = 3) -> Outline:
    return {f"{stem}.weight": (outputs, inputs, kernel, kernel), f"{stem}.bias": (outputs,)}


def layers_of(config: Config) -> int:
    """`layers_per_block`; WeightsError when it is not one number."""
    layers = config.get("layers_per_block", 2)
    if type(layers) is not int:
        raise WeightsError(f"layers_per_block is {layers!r}, not one number", "this kind of model cannot be converted")
    return layers


def _only(config: Config, setting: str, known: set[str]) -> None:
    if others := set(config[setting]) - known:
        raise WeightsError(f"{setting} holds {', '.join(sorted(others))}", f"known are {', '.join(sorted(known))}")


def _without(config: Config, *settings: str) -> None:
    for setting in settings:
        if config.get(setting) is not None:
            what = f"{setting} is {config[setting]!r}, which this layout has not"
            raise WeightsError(what, "this model is of another kind")
