"""The mapping covers real networks exactly: names and shapes are those of Diffusers, built on torch's meta device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from micro import diffusers, torch, transformers

from fsd.errors import RecipeError, WeightsError
from fsd.weights.keys import LAYOUTS, entries, file_tensors, get_layout
from fsd.weights.layouts import PartLayout
from fsd.weights.tensors import StoredTensor

SD1 = LAYOUTS["sd1"]


def networks(layers: int = 2, **unet: object) -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        return {
            "unet": diffusers.UNet2DConditionModel(layers_per_block=layers, cross_attention_dim=768, **unet),
            "vae": diffusers.AutoencoderKL(
                block_out_channels=(128, 256, 512, 512), layers_per_block=layers,
                down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            ),
            "text_encoder": transformers.CLIPTextModel(
                transformers.CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
            ),
        }  # fmt: skip


def configs(parts: dict[str, torch.nn.Module]) -> dict[str, dict]:
    plain = {name: dict(part.config) for name, part in parts.items() if name != "text_encoder"}
    return plain | {"text_encoder": parts["text_encoder"].config.to_dict()}


OTHER_BLOCKS = {
    "block_out_channels": (32, 64, 96),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "in_channels": 9,
}


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("unet", [{}, OTHER_BLOCKS, {"use_linear_projection": True}], ids=["sd15", "other", "linear"])
def test_the_outline_is_the_networks_own(layers: int, unet: dict) -> None:
    parts = networks(layers, **unet)
    for layout in SD1.parts:
        network = parts[layout.name]
        nested = "text_model." if layout.name == "text_encoder" else ""
        true = {nested + name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        assert layout.outline(configs(parts)[layout.name]) == true


def test_sd15_is_covered_exactly() -> None:
    plan = entries(SD1, configs(networks()))
    counts = {part.name: sum(entry.part == part.name for entry in plan) for part in SD1.parts}
    assert counts == {"unet": 686, "vae": 248, "text_encoder": 196}
    shapes = {entry.key: entry.shape for entry in plan}
    assert len(shapes) == 1130
    # A few that are known from the original code base (CompVis/stable-diffusion, v1-inference.yaml).
    unet = "model.diffusion_model."
    assert shapes[unet + "input_blocks.3.0.op.weight"] == (320, 320, 3, 3)
    assert shapes[unet + "input_blocks.4.0.skip_connection.weight"] == (640, 320, 1, 1)
    assert shapes[unet + "input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight"] == (1280, 768)
    assert shapes[unet + "output_blocks.2.1.conv.weight"] == (1280, 1280, 3, 3)
    assert shapes[unet + "output_blocks.8.2.conv.bias"] == (640,)
    assert shapes[unet + "output_blocks.11.0.in_layers.2.weight"] == (320, 640, 3, 3)
    assert shapes["first_stage_model.decoder.up.0.block.0.nin_shortcut.weight"] == (128, 256, 1, 1)
    assert shapes["first_stage_model.encoder.mid.attn_1.proj_out.weight"] == (512, 512, 1, 1)
    assert shapes["cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"] == (77, 768)


def stored(key: str, shape: tuple[int, ...], dtype: str = "F16") -> StoredTensor:
    return StoredTensor(Path("model.safetensors"), key, dtype, shape, 0, 0)


def test_an_original_file_may_hold_more_than_is_needed() -> None:
    expected = {entry.key: entry.shape for entry in entries(SD1, configs(networks()))}
    extra = [
        "model_ema.decay", "alphas_cumprod", "alphas_cumprod_prev", "betas", "sqrt_one_minus_alphas_cumprod", "logvar",
        "log_one_minus_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_mean_coef1", "first_stage_model.loss.logvar",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
    ]  # fmt: skip
    file = [stored(key, shape) for key, shape in expected.items()] + [stored(key, (1,)) for key in extra]
    used, left_out = file_tensors(SD1, expected, file, "model.safetensors")
    assert (used.keys(), left_out) == (expected.keys(), extra)
    flat = [replace(tensor, key=tensor.key.replace(".text_model.", ".")) for tensor in file]
    assert file_tensors(SD1, expected, flat, "model.safetensors")[0].keys() == expected.keys()


def test_what_does_not_fit_is_named_and_counted() -> None:
    expected = {entry.key: entry.shape for entry in entries(SD1, configs(networks()))}
    with pytest.raises(WeightsError, match=r"model\.safetensors do not fit.*missing: model\..*; and 1126 more"):
        file_tensors(SD1, expected, [stored("one.too.many", (3,))], "model.safetensors")


def test_a_layout_may_join_tensors_and_a_clash_is_an_error() -> None:
    part = PartLayout(
        name="text_encoder", prefix="te.", outline=lambda config: {f"{name}.weight": (4, 3) for name in "qkv"},
        renames=(("q.", "qkv."), ("k.", "qkv."), ("v.", "qkv.")), joined=("qkv.weight",),
    )  # fmt: skip
    (entry,) = entries(replace(SD1, parts=(part,)), {"text_encoder": {}})
    assert (entry.key, entry.shape) == ("te.qkv.weight", (12, 3))
    assert [name for name, _ in entry.sources] == ["q.weight", "k.weight", "v.weight"]
    with pytest.raises(WeightsError, match=r"two tensors .* te\.qkv\.weight"):
        entries(replace(SD1, parts=(replace(part, joined=()),)), {"text_encoder": {}})


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(RecipeError, match="no single-file layout 'sdx'"):
        get_layout("sdx")
