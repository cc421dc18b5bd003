"""ControlNets by Diffusers' own classes at full size without values, and files of one row of each of their tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from micro import diffusers, torch
from sparse import Outline, sparse_file

_UNET = {"down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)}
_SDXL: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), "cross_attention_dim": 2048,
    "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": [1, 2, 10], "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip


def _sd35() -> Any:
    return diffusers.SD3ControlNetModel(
        num_layers=19, attention_head_dim=64, num_attention_heads=38, joint_attention_dim=None,
        caption_projection_dim=2048, pooled_projection_dim=2048, pos_embed_max_size=None, pos_embed_type=None,
        use_pos_embed=False, force_zeros_for_pooled_projection=False,
    )  # fmt: skip


CLASSES: dict[str, Callable[[], Any]] = {
    "sd1": lambda: diffusers.ControlNetModel(cross_attention_dim=768, **_UNET),
    "sd2": lambda: diffusers.ControlNetModel(
        cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True, **_UNET
    ),
    "sdxl": lambda: diffusers.ControlNetModel(**_SDXL),
    "sdxl union": lambda: diffusers.ControlNetUnionModel(num_control_type=8, num_trans_channel=320, **_SDXL),
    "sd35-large": _sd35,
    "flux": lambda: diffusers.FluxControlNetModel(num_layers=6, num_single_layers=0, guidance_embeds=True),
    "flux union": lambda: diffusers.FluxControlNetModel(num_layers=5, num_single_layers=10, num_mode=10, guidance_embeds=True),
    "tiny": lambda: diffusers.ControlNetModel(
        block_out_channels=(32, 64, 96, 128), cross_attention_dim=64, layers_per_block=1, attention_head_dim=[1, 2, 3, 4],
        norm_num_groups=16, **_UNET,
    ),
}  # fmt: skip


def outline(name: str) -> Outline:
    """The keys and shapes of a ControlNet: a name in CLASSES, or one of the forms that Diffusers has no class for."""
    if name in _OTHER_FORMS:
        return _OTHER_FORMS[name]()
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in CLASSES[name]().state_dict().items()}


def narrow(name: str, path: Path) -> Path:
    """A small file with every key of a ControlNet and the first row of each tensor: as wide as what tells families."""
    return sparse_file(
        path, {key: shape if name == "tiny" else (1, *shape[1:]) for key, shape in outline(name).items()}
    )


def _stability() -> Outline:
    """Stability AI's own form of SD 3.5's: queries, keys and values in one."""
    found: dict[str, tuple[int, ...]] = {}
    for key, shape in outline("sd35-large").items():
        if ".attn.to_q." in key:
            found[key.replace("to_q", "qkv")] = (3 * shape[0], *shape[1:])
        elif ".attn.to_" not in key:
            found[key.replace("ff.net.0.proj", "mlp.fc1").replace("norm1.linear", "adaLN_modulation.1")] = shape
    return found


def _xlabs() -> Outline:
    """XLabs' form: Black Forest Labs' names for two double blocks, and a stem for the control image."""
    block = {
        "img_attn.qkv.weight": (9216, 3072),
        "img_attn.norm.key_norm.scale": (128,),
        "img_mod.lin.weight": (18432, 3072),
    }
    found = {f"double_blocks.{at}.{key}": shape for at in range(2) for key, shape in block.items()}
    found |= {f"controlnet_blocks.{at}.weight": (3072, 3072) for at in range(2)}
    return found | {
        "input_hint_block.0.weight": (16, 3, 3, 3),
        "img_in.weight": (3072, 64),
        "pos_embed_input.weight": (3072, 64),
    }


def _ldm() -> Outline:
    """The original form of SD 1's, of which most files are."""
    unet = {
        "input_blocks.0.0.weight": (320, 4, 3, 3), "input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768), "zero_convs.0.0.weight": (320, 320, 1, 1),
        "input_hint_block.0.weight": (16, 3, 3, 3), "middle_block_out.0.weight": (1280, 1280, 1, 1),
    }  # fmt: skip
    return {f"control_model.{key}": shape for key, shape in unet.items()}


_OTHER_FORMS: dict[str, Callable[[], Outline]] = {
    "sd35-large of Stability AI": _stability, "flux of XLabs": _xlabs, "sd1 as published": _ldm,
}  # fmt: skip
KINDS = (*CLASSES, *_OTHER_FORMS)
