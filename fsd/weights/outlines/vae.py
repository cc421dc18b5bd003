"""The tensors of Diffusers' AutoencoderKL."""

from __future__ import annotations

from fsd.weights.outlines.pieces import Config, Outline, conv, layers_of, linear, norm, only, resnet


def vae_outline(config: Config) -> Outline:
    """The tensors of an AutoencoderKL (SD 1.5: 248)."""
    only(config, "down_block_types", {"DownEncoderBlock2D"})
    only(config, "up_block_types", {"UpDecoderBlock2D"})
    widths, layers, latent = config["block_out_channels"], layers_of(config), config["latent_channels"]
    last = len(widths) - 1
    found = conv("encoder.conv_in", widths[0], config["in_channels"])
    found |= conv("decoder.conv_in", widths[-1], latent)
    for i, width in enumerate(widths):
        for j in range(layers):
            found |= resnet(f"encoder.down_blocks.{i}.resnets.{j}", widths[max(i - 1, 0)] if j == 0 else width, width)
        if i < last:
            found |= conv(f"encoder.down_blocks.{i}.downsamplers.0.conv", width, width)
    for i, width in enumerate(upward := widths[::-1]):
        for j in range(layers + 1):
            found |= resnet(f"decoder.up_blocks.{i}.resnets.{j}", upward[max(i - 1, 0)] if j == 0 else width, width)
        if i < last:
            found |= conv(f"decoder.up_blocks.{i}.upsamplers.0.conv", width, width)
    for side, end, channels in (("encoder", widths[-1], 2 * latent), ("decoder", widths[0], config["out_channels"])):
        found |= _vae_middle(f"{side}.mid_block", widths[-1])
        found |= norm(f"{side}.conv_norm_out", end) | conv(f"{side}.conv_out", channels, end)
    if config.get("use_quant_conv", True):
        found |= conv("quant_conv", 2 * latent, 2 * latent, 1)
    if config.get("use_post_quant_conv", True):
        found |= conv("post_quant_conv", latent, latent, 1)
    return found


def _vae_middle(stem: str, width: int) -> Outline:
    found = resnet(f"{stem}.resnets.0", width, width) | resnet(f"{stem}.resnets.1", width, width)
    found |= norm(f"{stem}.attentions.0.group_norm", width)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        found |= linear(f"{stem}.attentions.0.{name}", width, width)
    return found
