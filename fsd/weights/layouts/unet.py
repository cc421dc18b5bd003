"""UNet and VAE as CompVis' and Stability AI's code bases call their tensors."""

from __future__ import annotations

from dataclasses import replace

from fsd.weights.layouts.layout import PartLayout
from fsd.weights.outlines import sdxl_unet_outline, unet_outline, vae_outline

UNET = PartLayout(
    name="unet",
    prefix="model.diffusion_model.",
    outline=unet_outline,
    renames=(
        ("time_embedding.linear_1.", "time_embed.0."),
        ("time_embedding.linear_2.", "time_embed.2."),
        ("conv_in.", "input_blocks.0.0."),
        ("conv_norm_out.", "out.0."),
        ("conv_out.", "out.2."),
        ("resnets.{j}.norm1.", "resnets.{j}.in_layers.0."),
        ("resnets.{j}.conv1.", "resnets.{j}.in_layers.2."),
        ("resnets.{j}.time_emb_proj.", "resnets.{j}.emb_layers.1."),
        ("resnets.{j}.norm2.", "resnets.{j}.out_layers.0."),
        ("resnets.{j}.conv2.", "resnets.{j}.out_layers.3."),
        ("resnets.{j}.conv_shortcut.", "resnets.{j}.skip_connection."),
        ("down_blocks.{i}.resnets.{j}.", "input_blocks.{down}.0."),
        ("down_blocks.{i}.attentions.{j}.", "input_blocks.{down}.1."),
        ("down_blocks.{i}.downsamplers.0.conv.", "input_blocks.{down_end}.0.op."),
        ("mid_block.resnets.{j}.", "middle_block.{middle}."),
        ("mid_block.attentions.0.", "middle_block.1."),
        ("up_blocks.{i}.resnets.{j}.", "output_blocks.{up}.0."),
        ("up_blocks.{i}.attentions.{j}.", "output_blocks.{up}.1."),
        ("up_blocks.{i}.upsamplers.0.", "output_blocks.{up_end}.{up_last}."),
    ),
)

SDXL_UNET = replace(
    UNET,
    outline=sdxl_unet_outline,
    renames=(
        ("add_embedding.linear_1.", "label_emb.0.0."),
        ("add_embedding.linear_2.", "label_emb.0.2."),
        *UNET.renames,
    ),
)

VAE = PartLayout(
    name="vae",
    prefix="first_stage_model.",
    outline=vae_outline,
    renames=(
        ("resnets.{j}.conv_shortcut.", "resnets.{j}.nin_shortcut."),
        ("down_blocks.{i}.resnets.{j}.", "down.{i}.block.{j}."),
        ("down_blocks.{i}.downsamplers.0.", "down.{i}.downsample."),
        ("up_blocks.{i}.resnets.{j}.", "up.{mirror}.block.{j}."),
        ("up_blocks.{i}.upsamplers.0.", "up.{mirror}.upsample."),
        ("mid_block.resnets.{j}.", "mid.block_{next}."),
        ("mid_block.attentions.0.group_norm.", "mid.attn_1.norm."),
        ("mid_block.attentions.0.to_q.", "mid.attn_1.q."),
        ("mid_block.attentions.0.to_k.", "mid.attn_1.k."),
        ("mid_block.attentions.0.to_v.", "mid.attn_1.v."),
        ("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."),
        ("conv_norm_out.", "norm_out."),
    ),
    aliases=(
        (r"(?<=\.attentions\.0\.)query\.", "to_q."),
        (r"(?<=\.attentions\.0\.)key\.", "to_k."),
        (r"(?<=\.attentions\.0\.)value\.", "to_v."),
        (r"(?<=\.attentions\.0\.)proj_attn\.", "to_out.0."),
    ),
    appended=((r"mid_block\.attentions\.0\.(to_q|to_k|to_v|to_out\.0)\.weight$", (1, 1)),),
)
