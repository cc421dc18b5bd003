"""The layouts of single files, as data: what the original code bases call the tensors of a Diffusers folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fsd.weights.outlines import Config, Outline, clip_outline, unet_outline, vae_outline
from fsd.weights.tensors import Shape


@dataclass(frozen=True)
class PartLayout:
    """One part of a Diffusers folder in a single file.

    renames: (Diffusers, single file), in order, at name boundaries; {i} and {j} are block and layer, the numbers that
    the right side may use are in `keys._numbers`. aliases: (regular expression, replacement), older names to today's.
    left_out: regular expressions of tensors that nobody needs. appended: dimensions added to a shape, for names that
    match. joined: ends of the keys that several tensors share.
    """

    name: str
    prefix: str
    outline: Callable[[Config], Outline]
    renames: tuple[tuple[str, str], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    appended: tuple[tuple[str, Shape], ...] = ()
    joined: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A single-file layout. architecture: its name in modelspec metadata. left_out: keys of files that nobody needs."""

    name: str
    architecture: str
    parts: tuple[PartLayout, ...]
    left_out: tuple[str, ...] = ()


SD1_UNET = PartLayout(
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

SD1_VAE = PartLayout(
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

SD1_CLIP = PartLayout(
    name="text_encoder",
    prefix="cond_stage_model.transformer.",
    outline=clip_outline,
    aliases=((r"^(?!text_model\.)", "text_model."),),  # transformers 5 leaves the prefix out; the web UIs want it
    left_out=(r"embeddings\.position_ids$",),
)

SD1 = Layout(
    name="sd1",
    architecture="stable-diffusion-v1",
    parts=(SD1_UNET, SD1_VAE, SD1_CLIP),
    left_out=(
        r"^model_ema\.",
        r"^first_stage_model\.(loss|model_ema)\.",
        r"^(betas|logvar|(sqrt_|log_)?(alphas|one_minus_alphas|recip_alphas|recipm1_alphas)_cumprod(_prev)?|posterior_\w+)$",
    ),
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (SD1,)}
