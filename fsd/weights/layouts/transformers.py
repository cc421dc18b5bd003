"""The transformers of SD 3.5 and Flux as Stability AI's and Black Forest Labs' code bases call their tensors."""

from __future__ import annotations

from collections.abc import Mapping

from fsd.weights.layouts.layout import PartLayout
from fsd.weights.outlines import flux_outline, sd3_outline

Renames = tuple[tuple[str, str], ...]


def _blocks(old: str, new: str, inner: Mapping[str, str]) -> Renames:
    return tuple((f"{old}.{{i}}.{one}.", f"{new}.{{i}}.{other}.") for one, other in inner.items())


def _joined(old: tuple[str, ...], new: str) -> dict[str, str]:
    return dict.fromkeys(old, new)


QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
CONTEXT_QKV = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")

SD3_TRANSFORMER = PartLayout(
    name="transformer",
    prefix="model.diffusion_model.",
    outline=sd3_outline,
    renames=(
        ("pos_embed.pos_embed", "pos_embed"),
        ("pos_embed.proj.", "x_embedder.proj."),
        ("time_text_embed.timestep_embedder.linear_1.", "t_embedder.mlp.0."),
        ("time_text_embed.timestep_embedder.linear_2.", "t_embedder.mlp.2."),
        ("time_text_embed.text_embedder.linear_1.", "y_embedder.mlp.0."),
        ("time_text_embed.text_embedder.linear_2.", "y_embedder.mlp.2."),
        *_blocks("transformer_blocks", "joint_blocks", _joined(QKV, "x_block.attn.qkv")),
        *_blocks("transformer_blocks", "joint_blocks", _joined(CONTEXT_QKV, "context_block.attn.qkv")),
        *_blocks(
            "transformer_blocks",
            "joint_blocks",
            _joined(("attn2.to_q", "attn2.to_k", "attn2.to_v"), "x_block.attn2.qkv")
            | {
                "norm1.linear": "x_block.adaLN_modulation.1",
                "norm1_context.linear": "context_block.adaLN_modulation.1",
                "attn.norm_q": "x_block.attn.ln_q",
                "attn.norm_k": "x_block.attn.ln_k",
                "attn.norm_added_q": "context_block.attn.ln_q",
                "attn.norm_added_k": "context_block.attn.ln_k",
                "attn.to_out.0": "x_block.attn.proj",
                "attn.to_add_out": "context_block.attn.proj",
                "attn2.norm_q": "x_block.attn2.ln_q",
                "attn2.norm_k": "x_block.attn2.ln_k",
                "attn2.to_out.0": "x_block.attn2.proj",
                "ff.net.0.proj": "x_block.mlp.fc1",
                "ff.net.2": "x_block.mlp.fc2",
                "ff_context.net.0.proj": "context_block.mlp.fc1",
                "ff_context.net.2": "context_block.mlp.fc2",
            },
        ),
        ("norm_out.linear.", "final_layer.adaLN_modulation.1."),
        ("proj_out.", "final_layer.linear."),
    ),
    joined=("qkv.weight", "qkv.bias"),
    swapped=(r"^norm_out\.linear\.", r"^transformer_blocks\.{last}\.norm1_context\.linear\."),
)
"""The original reads shift before scale where Diffusers reads scale before shift: at the end, and for the last text."""

FLUX_TRANSFORMER = PartLayout(
    name="transformer",
    prefix="model.diffusion_model.",
    outline=flux_outline,
    renames=(
        ("time_text_embed.timestep_embedder.linear_1.", "time_in.in_layer."),
        ("time_text_embed.timestep_embedder.linear_2.", "time_in.out_layer."),
        ("time_text_embed.guidance_embedder.linear_1.", "guidance_in.in_layer."),
        ("time_text_embed.guidance_embedder.linear_2.", "guidance_in.out_layer."),
        ("time_text_embed.text_embedder.linear_1.", "vector_in.in_layer."),
        ("time_text_embed.text_embedder.linear_2.", "vector_in.out_layer."),
        ("context_embedder.", "txt_in."),
        ("x_embedder.", "img_in."),
        *_blocks("transformer_blocks", "double_blocks", _joined(QKV, "img_attn.qkv")),
        *_blocks("transformer_blocks", "double_blocks", _joined(CONTEXT_QKV, "txt_attn.qkv")),
        *_blocks(
            "transformer_blocks",
            "double_blocks",
            {
                "norm1.linear": "img_mod.lin",
                "norm1_context.linear": "txt_mod.lin",
                "attn.to_out.0": "img_attn.proj",
                "attn.to_add_out": "txt_attn.proj",
                "ff.net.0.proj": "img_mlp.0",
                "ff.net.2": "img_mlp.2",
                "ff_context.net.0.proj": "txt_mlp.0",
                "ff_context.net.2": "txt_mlp.2",
            },
        ),
        ("transformer_blocks.{i}.attn.norm_q.weight", "double_blocks.{i}.img_attn.norm.query_norm.scale"),
        ("transformer_blocks.{i}.attn.norm_k.weight", "double_blocks.{i}.img_attn.norm.key_norm.scale"),
        ("transformer_blocks.{i}.attn.norm_added_q.weight", "double_blocks.{i}.txt_attn.norm.query_norm.scale"),
        ("transformer_blocks.{i}.attn.norm_added_k.weight", "double_blocks.{i}.txt_attn.norm.key_norm.scale"),
        *_blocks("single_transformer_blocks", "single_blocks", _joined((*QKV, "proj_mlp"), "linear1")),
        ("single_transformer_blocks.{i}.norm.linear.", "single_blocks.{i}.modulation.lin."),
        ("single_transformer_blocks.{i}.proj_out.", "single_blocks.{i}.linear2."),
        ("single_transformer_blocks.{i}.attn.norm_q.weight", "single_blocks.{i}.norm.query_norm.scale"),
        ("single_transformer_blocks.{i}.attn.norm_k.weight", "single_blocks.{i}.norm.key_norm.scale"),
        ("norm_out.linear.", "final_layer.adaLN_modulation.1."),
        ("proj_out.", "final_layer.linear."),
    ),
    joined=("qkv.weight", "qkv.bias", "linear1.weight", "linear1.bias"),
    swapped=(r"^norm_out\.linear\.",),
)
