"""The mapping covers real networks exactly: names and shapes are those of Diffusers, built on torch's meta device."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from micro import diffusers, torch, transformers

from fsd.errors import RecipeError, WeightsError
from fsd.families import FAMILIES
from fsd.families.configs import family_config
from fsd.weights.accounting import file_tensors, key_today, part_tensors
from fsd.weights.keys import entries, get_layout, part_names
from fsd.weights.layouts import LAYOUTS, Layout, PartLayout
from fsd.weights.outlines import sdxl_unet_outline, unet_outline
from fsd.weights.tensors import StoredTensor

Shapes = dict[str, tuple[int, ...]]
SD1 = LAYOUTS["sd1"]


def network(config: dict[str, Any], kind: str) -> torch.nn.Module:
    with torch.device("meta"):
        if kind == "T5EncoderModel":
            return transformers.T5EncoderModel(transformers.T5Config(**config))
        if kind.startswith("CLIP"):
            return getattr(transformers, kind)(transformers.CLIPTextConfig(**config))
        return getattr(diffusers, kind).from_config(config)


def true_shapes(config: dict[str, Any], kind: str) -> Shapes:
    """A network's own tensors, CLIP's called as on the hub, T5's embedding once."""
    nested = "text_model." if kind == "CLIPTextModel" else ""
    found = network(config, kind).state_dict()
    return {
        nested + name.removeprefix(nested): tuple(tensor.shape)
        for name, tensor in found.items()
        if name != "encoder.embed_tokens.weight"
    }


@cache
def configs(family: str) -> dict[str, dict[str, Any]]:
    return {name: family_config(family, name) for name in layout_of(family).names()}


def layout_of(family: str) -> Layout:
    return LAYOUTS[FAMILIES[family].layout]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_outlines_are_the_networks_own(family: str) -> None:
    index = family_config(family, "model_index")
    layout = layout_of(family)
    parts = {name for name, value in index.items() if isinstance(value, list) and value[0] and name[0] not in "s"}
    assert {name for name in parts if not name.startswith(("tokenizer", "feature"))} == set(layout.names())
    for part in layout.parts:
        config = configs(family)[part.name]
        assert part.outline(config) == true_shapes(config, index[part.name][1])
        assert index[part.name][1] == config.get("_class_name", index[part.name][1])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_in_the_file_exactly_once(family: str) -> None:
    layout = layout_of(family)
    covered: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for entry in entries(layout, configs(family)):
        rows = sum(piece.rows for piece in entry.pieces)
        assert entry.shape[-1 if entry.transposed else 0] == rows
        for piece in entry.pieces:
            covered.setdefault((entry.part, piece.name), []).append((piece.start, piece.rows))
    for part in layout.parts:
        for name, shape in part.outline(configs(family)[part.name]).items():
            at = 0
            for start, rows in sorted(covered.pop((part.name, name))):
                assert start == at
                at += rows
            assert at == shape[0]
    assert not covered


COUNTS = {
    # what the published files hold, without what only training or nobody needs
    "sd15": {"unet": 686, "vae": 248, "text_encoder": 196},
    "sd21": {"unet": 686, "vae": 248, "text_encoder": 280},
    "sdxl": {"unet": 1680, "vae": 248, "text_encoder": 196, "text_encoder_2": 389},  # 2515 with two that are not needed
    "sd35-large": {"transformer": 923, "vae": 244, "text_encoder": 197, "text_encoder_2": 517},
    "flux-dev": {"transformer": 780, "vae": 244, "text_encoder": 196, "text_encoder_2": 219},
    "flux-schnell": {"transformer": 776},
}


@pytest.mark.parametrize("family", COUNTS)
def test_the_files_hold_as_many_tensors_as_the_published_ones(family: str) -> None:
    plan = entries(layout_of(family), configs(family))
    assert {name: sum(entry.part == name for entry in plan) for name in COUNTS[family]} == COUNTS[family]


# Keys and shapes known from the original code bases and their published files.
UNET, VAE = "model.diffusion_model.", "first_stage_model."
KNOWN: dict[str, Shapes] = {
    "sd15": {
        UNET + "input_blocks.3.0.op.weight": (320, 320, 3, 3),
        UNET + "input_blocks.4.0.skip_connection.weight": (640, 320, 1, 1),
        UNET + "input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
        UNET + "output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        UNET + "output_blocks.8.2.conv.bias": (640,),
        UNET + "output_blocks.11.0.in_layers.2.weight": (320, 640, 3, 3),
        UNET + "input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
        VAE + "decoder.up.0.block.0.nin_shortcut.weight": (128, 256, 1, 1),
        VAE + "encoder.mid.attn_1.proj_out.weight": (512, 512, 1, 1),
        "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    },
    "sd15-inpainting": {UNET + "input_blocks.0.0.weight": (320, 9, 3, 3)},
    "sd21": {
        UNET + "input_blocks.1.1.proj_in.weight": (320, 320),
        UNET + "input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
        "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": (3072, 1024),
        "cond_stage_model.model.transformer.resblocks.22.attn.in_proj_bias": (3072,),
        "cond_stage_model.model.transformer.resblocks.22.mlp.c_fc.weight": (4096, 1024),
        "cond_stage_model.model.positional_embedding": (77, 1024),
        "cond_stage_model.model.token_embedding.weight": (49408, 1024),
        "cond_stage_model.model.ln_final.weight": (1024,),
    },
    "sdxl": {
        UNET + "label_emb.0.0.weight": (1280, 2816),
        UNET + "input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight": (1280, 2048),
        UNET + "output_blocks.5.2.conv.weight": (640, 640, 3, 3),
        "conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc2.bias": (768,),
        "conditioner.embedders.1.model.text_projection": (1280, 1280),
        "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight": (3840, 1280),
        "conditioner.embedders.1.model.ln_final.weight": (1280,),
    },
    "sd35-large": {
        UNET + "pos_embed": (1, 36864, 2432),
        UNET + "joint_blocks.0.context_block.adaLN_modulation.1.bias": (14592,),
        UNET + "joint_blocks.37.context_block.adaLN_modulation.1.weight": (4864, 2432),
        UNET + "joint_blocks.37.x_block.attn.qkv.weight": (7296, 2432),
        UNET + "joint_blocks.37.context_block.attn.ln_q.weight": (64,),
        UNET + "final_layer.adaLN_modulation.1.weight": (4864, 2432),
        VAE + "decoder.conv_in.weight": (512, 16, 3, 3),
        "text_encoders.clip_l.transformer.text_model.final_layer_norm.weight": (768,),
        "text_encoders.clip_g.transformer.text_projection.weight": (1280, 1280),
        "text_encoders.t5xxl.transformer.shared.weight": (32128, 4096),
    },
    "sd35-medium": {
        UNET + "pos_embed": (1, 147456, 1536),
        UNET + "joint_blocks.12.x_block.attn2.qkv.weight": (4608, 1536),
        UNET + "joint_blocks.12.x_block.adaLN_modulation.1.bias": (13824,),
        UNET + "joint_blocks.13.x_block.adaLN_modulation.1.bias": (9216,),
        UNET + "joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,),
        UNET + "y_embedder.mlp.0.weight": (1536, 2048),
    },
    "flux-dev": {
        UNET + "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        UNET + "double_blocks.18.txt_attn.qkv.weight": (9216, 3072),
        UNET + "single_blocks.37.linear1.weight": (21504, 3072),
        UNET + "single_blocks.0.linear2.weight": (3072, 15360),
        UNET + "guidance_in.in_layer.weight": (3072, 256),
        UNET + "img_in.weight": (3072, 64),
        UNET + "final_layer.linear.bias": (64,),
        "vae.encoder.conv_out.weight": (32, 512, 3, 3),
        "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.weight": (49408, 768),
        "text_encoders.t5xxl.transformer.encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (10240, 4096),
    },
}


@pytest.mark.parametrize("family", KNOWN)
def test_known_keys_have_their_known_shapes(family: str) -> None:
    shapes = {entry.key: entry.shape for entry in entries(layout_of(family), configs(family))}
    assert {key: shapes.get(key) for key in KNOWN[family]} == KNOWN[family]
    if family == "sd35-large":
        assert not any(".attn2." in key or "37.context_block.mlp" in key for key in shapes)


def test_only_dev_has_a_guidance_embedding() -> None:
    keys = [entry.key for entry in entries(LAYOUTS["flux"], configs("flux-schnell"))]
    assert not any("guidance_in" in key for key in keys)


OTHER_BLOCKS = {
    "block_out_channels": (32, 64, 96),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "in_channels": 9,
}
DEEP = {
    "transformer_layers_per_block": (1, 2, 3), "addition_embed_type": "text_time",
    "projection_class_embeddings_input_dim": 48, "addition_time_embed_dim": 8,
}  # fmt: skip


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("more", [{}, OTHER_BLOCKS, OTHER_BLOCKS | DEEP], ids=["sd15", "other", "deep"])
def test_unets_of_other_sizes(layers: int, more: dict) -> None:
    config = {"layers_per_block": layers, "cross_attention_dim": 768, **more}
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**config)
    outline = sdxl_unet_outline if "addition_embed_type" in more else unet_outline
    assert outline(dict(unet.config)) == {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    part = SD1.parts[0] if outline is unet_outline else LAYOUTS["sdxl"].parts[0]
    plan = entries(replace(SD1, parts=(part,)), {"unet": dict(unet.config)})
    assert len(plan) == len(unet.state_dict())
    other = unet_outline if outline is sdxl_unet_outline else sdxl_unet_outline
    with pytest.raises(WeightsError, match="addition_embed_type"):
        other(dict(unet.config))


def stored(key: str, shape: tuple[int, ...], dtype: str = "F16") -> StoredTensor:
    return StoredTensor(Path("model.safetensors"), key, dtype, shape, 0, 0)


LEFT_OUT = {
    "sd15": [
        "model_ema.decay", "alphas_cumprod", "alphas_cumprod_prev", "betas", "sqrt_one_minus_alphas_cumprod", "logvar",
        "log_one_minus_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_mean_coef1", "first_stage_model.loss.logvar",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
    ],
    "sd21": [
        "cond_stage_model.model.transformer.resblocks.23.attn.in_proj_weight", "cond_stage_model.model.text_projection",
        "cond_stage_model.model.logit_scale", "cond_stage_model.model.transformer.resblocks.23.ln_1.bias", "model_ema.decay",
    ],
    "sdxl": [
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids", "denoiser.sigmas", "v_pred", "ztsnr",
        "conditioner.embedders.1.model.logit_scale",
    ],
    "sd35-medium": [
        "text_encoders.t5xxl.transformer.encoder.embed_tokens.weight", "text_encoders.clip_l.logit_scale",
        "text_encoders.t5xxl.logit_scale",
    ],
    "flux-dev": [
        "text_encoders.clip_l.transformer.text_projection.weight", "text_encoders.clip_l.logit_scale",
        "text_encoders.t5xxl.transformer.encoder.embed_tokens.weight",
    ],
}  # fmt: skip


@pytest.mark.parametrize("family", LEFT_OUT)
def test_an_original_file_may_hold_more_than_is_needed(family: str) -> None:
    layout, extra = layout_of(family), LEFT_OUT[family]
    expected = {entry.key: entry.shape for entry in entries(layout, configs(family))}
    file = [stored(key, (1,)) for key in extra] + [stored(key, shape) for key, shape in expected.items()]
    used, left_out = file_tensors(layout, configs(family), expected, file, "model.safetensors")
    assert (used.keys(), left_out) == (expected.keys(), extra)
    flat = [replace(tensor, key=tensor.key.replace(".text_model.", ".")) for tensor in file]
    used, _ = file_tensors(layout, configs(family), expected, flat, "model.safetensors")
    assert used.keys() == expected.keys()


@pytest.mark.parametrize(("family", "prefix"), [("sd35-large", UNET), ("flux-dev", UNET), ("flux-dev", "vae.")])
def test_files_without_the_prefix_are_read(family: str, prefix: str) -> None:
    layout = layout_of(family)
    keys = [entry.key for entry in entries(layout, configs(family)) if entry.key.startswith(prefix)]
    bare = "" if prefix == UNET else VAE
    assert [key_today(layout, bare + key.removeprefix(prefix)) for key in keys] == keys


def test_t5_is_read_by_either_name_of_its_embedding() -> None:
    part = LAYOUTS["flux"].parts[3]
    config = {**configs("flux-dev")["text_encoder_2"], "num_layers": 1}
    expected = part.outline(config)
    other = {name.replace("shared.", "encoder.embed_tokens."): shape for name, shape in expected.items()}
    found, left_out = part_tensors(part, config, expected, [stored(*item) for item in other.items()], "here")
    assert (found.keys(), left_out) == (expected.keys(), [])
    both = [stored(*item) for item in (other | expected).items()]
    found, left_out = part_tensors(part, config, expected, both, "here")
    assert (found["shared.weight"].key, left_out) == ("shared.weight", ["encoder.embed_tokens.weight"])


def test_what_does_not_fit_is_named_and_counted() -> None:
    expected = {entry.key: entry.shape for entry in entries(SD1, configs("sd15"))}
    with pytest.raises(WeightsError, match=r"model\.safetensors do not fit.*missing: model\..*; and 1126 more"):
        file_tensors(SD1, configs("sd15"), expected, [stored("one.too.many", (3,))], "model.safetensors")


def test_a_layout_may_join_tensors_and_a_clash_is_an_error() -> None:
    part = PartLayout(
        name="text_encoder", prefix="te.", outline=lambda config: {f"{name}.weight": (4, 3) for name in "qkv"},
        renames=(("q.", "qkv."), ("k.", "qkv."), ("v.", "qkv.")), joined=("qkv.weight",),
    )  # fmt: skip
    (entry,) = entries(replace(SD1, parts=(part,)), {"text_encoder": {}})
    assert (entry.key, entry.shape) == ("te.qkv.weight", (12, 3))
    assert [piece.name for piece in entry.pieces] == ["q.weight", "k.weight", "v.weight"]
    with pytest.raises(WeightsError, match=r"two tensors .* te\.qkv\.weight"):
        entries(replace(SD1, parts=(replace(part, joined=()),)), {"text_encoder": {}})
    odd = replace(part, outline=lambda config: {"q.weight": (3, 3)}, swapped=("q",))
    with pytest.raises(WeightsError, match="no halves"):
        entries(replace(SD1, parts=(odd,)), {"text_encoder": {}})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(RecipeError, match="no single-file layout 'sdx'"):
        get_layout("sdx")
    with pytest.raises(RecipeError, match="no configuration of 'sd15', part 'text_encoder_2'"):
        family_config("sd15", "text_encoder_2")
    with pytest.raises(RecipeError, match="unet cannot be left out"):
        part_names(SD1, ("unet",))
