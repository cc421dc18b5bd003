"""The tensors of Diffusers' UNet2DConditionModel."""

from __future__ import annotations

from fsd.errors import WeightsError
from fsd.weights.outlines.pieces import Config, Outline, conv, layers_of, linear, norm, only, resnet, without


def unet_outline(config: Config) -> Outline:
    """The tensors of a UNet2DConditionModel of plain and cross-attention blocks (SD 1.5 and SD 2.1: 686)."""
    without(config, "addition_embed_type")
    return _unet(config)


def sdxl_unet_outline(config: Config) -> Outline:
    """The same with what SDXL adds: an embedding of the pooled text and the picture's size (SDXL: 1680)."""
    if config.get("addition_embed_type") != "text_time":
        what = f"addition_embed_type is {config.get('addition_embed_type')!r}, not 'text_time'"
        raise WeightsError(what, "this model is of another kind")
    time = config["block_out_channels"][0] * 4
    found = linear("add_embedding.linear_1", time, config["projection_class_embeddings_input_dim"])
    return _unet(config) | found | linear("add_embedding.linear_2", time, time)


def _unet(config: Config) -> Outline:
    only(config, "down_block_types", {"DownBlock2D", "CrossAttnDownBlock2D"})
    only(config, "up_block_types", {"UpBlock2D", "CrossAttnUpBlock2D"})
    without(config, "class_embed_type", "encoder_hid_dim", "time_embedding_dim")
    widths, layers, depths = config["block_out_channels"], layers_of(config), _depths(config)
    last, time = len(widths) - 1, widths[0] * 4
    found = conv("conv_in", widths[0], config["in_channels"])
    found |= linear("time_embedding.linear_1", time, widths[0])
    found |= linear("time_embedding.linear_2", time, time)
    for i, width in enumerate(widths):
        for j in range(layers):
            found |= resnet(f"down_blocks.{i}.resnets.{j}", widths[max(i - 1, 0)] if j == 0 else width, width, time)
            if "CrossAttn" in config["down_block_types"][i]:
                found |= _transformer(f"down_blocks.{i}.attentions.{j}", width, depths[i], config)
        if i < last:
            found |= conv(f"down_blocks.{i}.downsamplers.0.conv", width, width)
    for j in (0, 1):
        found |= resnet(f"mid_block.resnets.{j}", widths[-1], widths[-1], time)
    found |= _transformer("mid_block.attentions.0", widths[-1], depths[-1], config) | _up_blocks(config, time)
    return found | norm("conv_norm_out", widths[0]) | conv("conv_out", config["out_channels"], widths[0])


def _up_blocks(config: Config, time: int) -> Outline:
    found: Outline = {}
    widths, layers, depths = config["block_out_channels"][::-1], layers_of(config), _depths(config)[::-1]
    last = len(widths) - 1
    for i, width in enumerate(widths):
        for j in range(layers + 1):
            below = widths[max(i - 1, 0)] if j == 0 else width
            skip = widths[min(i + 1, last)] if j == layers else width
            found |= resnet(f"up_blocks.{i}.resnets.{j}", below + skip, width, time)
            if "CrossAttn" in config["up_block_types"][i]:
                found |= _transformer(f"up_blocks.{i}.attentions.{j}", width, depths[i], config)
        if i < last:
            found |= conv(f"up_blocks.{i}.upsamplers.0.conv", width, width)
    return found


def _depths(config: Config) -> list[int]:
    """How many transformer blocks stand in each attention of a down block, by block."""
    depths = config.get("transformer_layers_per_block") or 1
    depths = [depths] * len(config["block_out_channels"]) if isinstance(depths, int) else list(depths)
    if not all(type(depth) is int for depth in depths) or len(depths) != len(config["block_out_channels"]):
        what = f"transformer_layers_per_block is {depths}, not one number a block"
        raise WeightsError(what, "this kind of model cannot be converted")
    return depths


def _transformer(stem: str, width: int, depth: int, config: Config) -> Outline:
    found = norm(f"{stem}.norm", width)
    kernel = () if config.get("use_linear_projection") else (1, 1)
    for name in ("proj_in", "proj_out"):
        found |= {f"{stem}.{name}.weight": (width, width, *kernel), f"{stem}.{name}.bias": (width,)}
    for layer in range(depth):
        block = f"{stem}.transformer_blocks.{layer}"
        for number, context in ((1, width), (2, config["cross_attention_dim"])):
            for name, inputs in (("to_q", width), ("to_k", context), ("to_v", context)):
                found[f"{block}.attn{number}.{name}.weight"] = (width, inputs)
            found |= linear(f"{block}.attn{number}.to_out.0", width, width)
        for number in (1, 2, 3):
            found |= norm(f"{block}.norm{number}", width)
        found |= linear(f"{block}.ff.net.0.proj", 8 * width, width) | linear(f"{block}.ff.net.2", width, 4 * width)
    return found
