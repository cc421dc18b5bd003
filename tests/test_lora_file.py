"""A LoRA changes every layer by the same whichever form it has, by the reckoning of loaders that we did not write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from loras import TARGETS, add_lora, changes, loaded, network, probed, save, text_encoder
from micro import torch

from fsd import models
from fsd.errors import RecipeError, WeightsError
from fsd.weights.lora_file import convert_lora
from fsd.weights.tensors import read_header

safetensors_torch = pytest.importorskip("safetensors.torch")

LAYOUTS = ["sd1", "sd2", "sdxl", "sd3", "flux"]
SETTINGS = {
    "alpha": {},
    "rslora": {"use_rslora": True},
    "patterns": {"alpha_pattern": {"to_v": 3, "conv1": 7}},
}  # fmt: skip


def same(one: dict, other: dict) -> bool:
    """The same layers changed by the same, to a hundred-thousandth; what is not there is changed by nothing."""
    pairs = [[found.get(name, torch.zeros(1)) for found in (one, other)] for name in one.keys() | other.keys()]
    return all((first - second).norm() <= 1e-5 * second.norm() for first, second in pairs)


def as_tensors(path: Path) -> dict[str, torch.Tensor]:
    return safetensors_torch.load_file(path)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lora_survives_the_way_to_kohyas_form_and_back(tmp_path: Path, layout: str, settings: str) -> None:
    model = network(layout)
    add_lora(model, TARGETS[layout], **SETTINGS[settings])
    meant, source = changes(model), save(model, layout, tmp_path)
    there = convert_lora(source, tmp_path / "kohya.safetensors", "kohya", layout)
    assert (there.form, there.layers) == ("kohya", len(meant))
    back = convert_lora(there.path, tmp_path / "peft.safetensors", "peft", layout)
    assert same(loaded(back.path, layout), meant)
    if layout not in ("sd3", "flux"):  # Diffusers reads kohya's SD 3 not at all, and Flux only at its full width
        assert same(loaded(there.path, layout), meant)


@pytest.mark.parametrize("layout", ["sd1", "sdxl"])
def test_text_encoders_go_along(tmp_path: Path, layout: str) -> None:
    model, text = network(layout), text_encoder()
    add_lora(model, ["to_q"])
    add_lora(text, ["q_proj", "k_proj", "out_proj", "fc1"])  # without out_proj Diffusers does not know kohya's form
    meant = changes(model) | {f"text_encoder.{name}": change for name, change in changes(text).items()}
    source = save(model, layout, tmp_path, text)
    there = convert_lora(source, tmp_path / "kohya.safetensors", "kohya", layout).path
    back = convert_lora(there, tmp_path / "peft.safetensors", "peft", layout).path
    assert same(loaded(there, layout, text_encoder()), meant)
    assert same(loaded(back, layout, text_encoder()), meant)
    prefix = {"sd1": "lora_te_", "sdxl": "lora_te1_"}[layout]
    assert f"{prefix}text_model_encoder_layers_0_self_attn_q_proj.alpha" in as_tensors(there)


WIDTH = 3072
"""Flux's: the only one at which Diffusers cuts kohya's form."""


def random_lora(path: Path, shapes: dict[str, tuple[int, int, int]], ends: tuple[str, str], alpha: float = 0) -> Path:
    """A file of random layers with so many rows, ranks and values read."""
    torch.manual_seed(2)
    tensors = {}
    for name, (rows, rank, reads) in shapes.items():
        tensors |= {f"{name}.{ends[0]}": torch.randn(rank, reads) / 50, f"{name}.{ends[1]}": torch.randn(rows, rank)}
        tensors |= {f"{name}.alpha": torch.tensor(alpha)} if alpha else {}
    safetensors_torch.save_file(tensors, path)
    return path


KOHYA, PEFT = ("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight")
DOUBLE, SINGLE = "transformer.transformer_blocks.3.attn", "transformer.single_transformer_blocks.5"
PARTS = {
    "q of both": {f"{DOUBLE}.to_q": (WIDTH, 4, WIDTH), f"{SINGLE}.attn.to_q": (WIDTH, 4, WIDTH)},
    "k and v, of two ranks": {f"{DOUBLE}.to_k": (WIDTH, 4, WIDTH), f"{DOUBLE}.to_v": (WIDTH, 2, WIDTH)},
    "text": {f"{DOUBLE}.add_v_proj": (WIDTH, 3, WIDTH)},
    "mlp": {f"{SINGLE}.proj_mlp": (4 * WIDTH, 4, WIDTH), f"{SINGLE}.attn.to_v": (WIDTH, 4, WIDTH)},
}


@pytest.mark.parametrize("parts", PARTS)
def test_parts_that_are_not_trained_stay_as_they_are(tmp_path: Path, parts: str) -> None:
    """In the original code's fused layers they are blocks of zeros."""
    source = random_lora(tmp_path / "source.safetensors", PARTS[parts], PEFT)
    there = convert_lora(source, tmp_path / "kohya.safetensors", "kohya")
    back = convert_lora(there.path, tmp_path / "peft.safetensors", "peft")
    assert there.layout == "flux"
    assert same(probed(there.path, WIDTH), probed(source, WIDTH))
    assert back.layers == len(PARTS[parts])
    assert as_tensors(back.path).keys() == as_tensors(source).keys()
    assert all(torch.equal(as_tensors(back.path)[key], value) for key, value in as_tensors(source).items())


FUSED = {
    "lora_unet_double_blocks_0_img_attn_qkv": (3 * WIDTH, 4, WIDTH),
    "lora_unet_double_blocks_1_txt_mlp_2": (WIDTH, 2, 4 * WIDTH),
    "lora_unet_single_blocks_0_linear1": (7 * WIDTH, 4, WIDTH),
    "lora_unet_single_blocks_1_linear2": (WIDTH, 4, 5 * WIDTH),
}


def test_layers_that_kohya_trained_as_one_are_cut_as_diffusers_cuts_them(tmp_path: Path) -> None:
    source = random_lora(tmp_path / "kohya.safetensors", FUSED, KOHYA, alpha=3)
    there = convert_lora(source, tmp_path / "peft.safetensors")
    assert (there.form, there.layout, there.layers) == ("peft", "flux", 9)
    assert same(probed(there.path, WIDTH), probed(source, WIDTH))
    back = as_tensors(convert_lora(there.path, tmp_path / "back.safetensors").path)
    for name in FUSED:
        assert same({"": change_of(back, name)}, {"": change_of(as_tensors(source), name)})
        assert back[f"{name}.lora_down.weight"].shape[0] == FUSED[name][1], (
            "one lower matrix for all needs no more ranks"
        )


def change_of(tensors: dict, name: str) -> torch.Tensor:
    down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
    return tensors[f"{name}.alpha"] / down.shape[0] * up @ down


def test_sd3s_layers_have_the_original_names_rows_and_halves(tmp_path: Path) -> None:
    model = network("sd3")
    add_lora(model, TARGETS["sd3"])
    meant, source = changes(model), save(model, "sd3", tmp_path)
    made = as_tensors(convert_lora(source, tmp_path / "kohya.safetensors", "kohya", "sd3").path)
    blocks = "lora_unet_joint_blocks"

    def below(*names: str) -> torch.Tensor:
        return torch.cat([meant[f"transformer_blocks.0.{name}"] for name in names])

    for name, change in {
        f"{blocks}_0_x_block_attn_qkv": below("attn.to_q", "attn.to_k", "attn.to_v"),
        f"{blocks}_0_context_block_attn_qkv": below("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        f"{blocks}_0_x_block_attn2_qkv": below("attn2.to_q", "attn2.to_k", "attn2.to_v"),
        f"{blocks}_0_x_block_adaLN_modulation_1": below("norm1.linear"),
        f"{blocks}_0_context_block_adaLN_modulation_1": below("norm1_context.linear"),
        f"{blocks}_1_context_block_adaLN_modulation_1": meant["transformer_blocks.1.norm1_context.linear"].roll(16, 0),
        f"{blocks}_0_context_block_mlp_fc2": below("ff_context.net.2"),
        "lora_unet_final_layer_adaLN_modulation_1": meant["norm_out.linear"].roll(16, 0),
    }.items():
        assert same({"": change_of(made, name)}, {"": change}), name


def test_fluxs_layers_have_the_original_names_rows_and_halves(tmp_path: Path) -> None:
    model = network("flux")
    add_lora(model, TARGETS["flux"])
    meant, source = changes(model), save(model, "flux", tmp_path)
    made = as_tensors(convert_lora(source, tmp_path / "kohya.safetensors", "kohya", "flux").path)

    def below(block: str, *names: str) -> torch.Tensor:
        return torch.cat([meant[f"{block}.0.{name}"] for name in names])

    double, single = "transformer_blocks", "single_transformer_blocks"
    for name, change in {
        "double_blocks_0_img_attn_qkv": below(double, "attn.to_q", "attn.to_k", "attn.to_v"),
        "double_blocks_0_txt_attn_qkv": below(double, "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "double_blocks_0_img_attn_proj": below(double, "attn.to_out.0"),
        "double_blocks_0_img_mlp_0": below(double, "ff.net.0.proj"),
        "double_blocks_0_txt_mlp_2": below(double, "ff_context.net.2"),
        "single_blocks_0_linear1": below(single, "attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
        "single_blocks_0_modulation_lin": below(single, "norm.linear"),
        "final_layer_adaLN_modulation_1": meant["norm_out.linear"].roll(16, 0),
    }.items():
        assert same({"": change_of(made, f"lora_unet_{name}")}, {"": change}), name


def test_alpha_is_the_scale_times_the_rank(tmp_path: Path) -> None:
    """As for peft; joined layers have three times the rank, so three times the alpha."""
    model = network("flux")
    add_lora(model, ["to_q", "to_k", "to_v", "proj_out"], rank_pattern={}, use_rslora=True)
    made = as_tensors(convert_lora(save(model, "flux", tmp_path), tmp_path / "a.safetensors", layout="flux").path)
    assert made["lora_unet_double_blocks_0_img_attn_qkv.alpha"].item() == pytest.approx(3 * 6 * 4**0.5)
    assert made["lora_unet_single_blocks_0_linear2.alpha"].item() == pytest.approx(6 * 4**0.5)


def test_what_is_written_says_what_it_is(tmp_path: Path) -> None:
    model = network("sdxl")
    add_lora(model, ["to_q", "conv1"])
    path = convert_lora(save(model, "sdxl", tmp_path), tmp_path / "cup.safetensors", layout="sdxl").path
    tensors, metadata = read_header(path)
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "6")
    assert "lora_adapter_metadata" not in metadata
    assert "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight" in tensors
    assert "lora_unet_output_blocks_8_0_in_layers_2.lora_up.weight" in tensors
    back = convert_lora(path, tmp_path / "peft.safetensors", layout="sdxl").path
    assert json.loads(read_header(back)[1]["lora_adapter_metadata"])["unet.r"] == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_as_it_is(tmp_path: Path, dtype: torch.dtype) -> None:
    """Only where a scale is multiplied in is anything rounded; here it is a half."""
    name = "lora_unet_double_blocks_0_img_mlp_0"
    path = random_lora(tmp_path / "a.safetensors", {name: (64, 4, 16)}, KOHYA, alpha=2)
    tensors = {key: tensor.to(dtype) for key, tensor in as_tensors(path).items()}
    safetensors_torch.save_file(tensors, path)
    made = as_tensors(convert_lora(path, tmp_path / "b.safetensors", "peft", "flux").path)
    stem = "transformer.transformer_blocks.0.ff.net.0.proj"
    assert torch.equal(made[f"{stem}.lora_A.weight"], tensors[f"{name}.lora_down.weight"])
    assert torch.equal(made[f"{stem}.lora_B.weight"], tensors[f"{name}.lora_up.weight"] / 2)


OLD = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora"
NAMINGS = [
    ("sd1", OLD, "down.weight", "up.weight", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"),
    ("sd1", "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer", "down.weight", "up.weight",
     "text_encoder.text_model.encoder.layers.0.mlp.fc1"),
    ("sd1", "text_encoder.encoder.layers.1.self_attn.q_proj", "lora_A.weight", "lora_B.weight",
     "text_encoder.text_model.encoder.layers.1.self_attn.q_proj"),
    ("sd1", "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k", "lora_down.weight", "lora_up.weight",
     "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"),
    ("flux", "diffusion_model.double_blocks.3.img_attn.proj", "lora_A.weight", "lora_B.weight",
     "transformer.transformer_blocks.3.attn.to_out.0"),
    ("flux", "lora_transformer_single_transformer_blocks_7_attn_to_k", "lora_down.weight", "lora_up.weight",
     "transformer.single_transformer_blocks.7.attn.to_k"),
    ("flux", "lora_te3_encoder_block_0_layer_0_SelfAttention_q", "lora_down.weight", "lora_up.weight",
     "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"),
    ("sd3", "lora_te2_text_model_encoder_layers_3_mlp_fc2", "lora_down.weight", "lora_up.weight",
     "text_encoder_2.text_model.encoder.layers.3.mlp.fc2"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "stem", "down", "up", "meant"), NAMINGS)
def test_other_namings_are_read(tmp_path: Path, layout: str, stem: str, down: str, up: str, meant: str) -> None:
    tensors = {f"{stem}.{down}": torch.randn(4, 16), f"{stem}.{up}": torch.randn(16, 4)}
    safetensors_torch.save_file(tensors, tmp_path / "a.safetensors")
    made = as_tensors(convert_lora(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "peft", layout).path)
    assert set(made) == {f"{meant}.lora_A.weight", f"{meant}.lora_B.weight"}
    assert torch.equal(made[f"{meant}.lora_B.weight"], tensors[f"{stem}.{up}"])


GOOD = {
    "lora_unet_double_blocks_0_img_mlp_0.lora_down.weight": (4, 16),
    "lora_unet_double_blocks_0_img_mlp_0.lora_up.weight": (64, 4),
}
BAD = [
    ({"lora_unet_double_blocks_0_img_mlp_0.dora_scale": (64, 1)}, "dora_scale is of no plain LoRA"),
    ({"lora_unet_double_blocks_99_img_mlp_0.lora_down.weight": (4, 16)}, "no layer is called lora_unet_double_blocks_99"),
    ({"lora_unet_double_blocks_1_img_mlp_0.lora_down.weight": (4, 16)}, "has only down"),
    ({"lora_unet_double_blocks_0_img_mlp_0.lora_up.weight": (64, 3)}, "[4, 16] below F32 [64, 3]"),
    ({"lora_unet_double_blocks_0_img_mlp_0.alpha": (2,)}, "alpha that is no number"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "says"), BAD)
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path: Path, more: dict, says: str) -> None:
    source, made = tmp_path / "bad.safetensors", tmp_path / "made.safetensors"
    safetensors_torch.save_file({key: torch.zeros(shape) for key, shape in (GOOD | more).items()}, source)
    with pytest.raises(WeightsError, match=re.escape(says)) as caught:
        convert_lora(source, made, layout="flux")
    assert "bad.safetensors" in caught.value.message
    assert not made.exists()


def test_bad_wishes_are_refused(tmp_path: Path) -> None:
    source = random_lora(tmp_path / "a.safetensors", {"lora_unet_double_blocks_0_img_mlp_0": (64, 4, 16)}, KOHYA)
    with pytest.raises(RecipeError, match=r"no \.safetensors"):
        convert_lora(source, tmp_path / "a.ckpt")
    with pytest.raises(RecipeError, match="choose one of: kohya, peft"):
        convert_lora(source, tmp_path / "b.safetensors", "lycoris", "flux")
    safetensors_torch.save_file({"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3)}, tmp_path / "vae.safetensors")
    with pytest.raises(WeightsError, match=r"vae\.safetensors is not a LoRA but a VAE"):
        convert_lora(tmp_path / "vae.safetensors", tmp_path / "b.safetensors")


def test_the_verb_converts_loras_to_the_form_that_they_have_not(tmp_path: Path) -> None:
    model = network("sd1")
    add_lora(model, ["to_q"])
    source = save(model, "sd1", tmp_path)
    there = models.convert(str(source), str(tmp_path / "kohya.safetensors"), family="sd15")
    assert "LoRA in kohya's form" in there.text
    back = models.convert(there["path"], str(tmp_path / "peft.safetensors"), family="sd15")
    assert (back["form"], back["layers"]) == ("peft", len(changes(model)))
    assert same(loaded(Path(back["path"]), "sd1"), changes(model))
