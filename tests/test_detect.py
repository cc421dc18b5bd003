"""What a file is: told from the few keys that tell, and nothing else is read."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest
from sparse import sparse_file, write_values

from fsd.errors import WeightsError
from fsd.families import FAMILIES
from fsd.weights.detect import detect, require_model
from fsd.weights.networks import NETWORKS
from fsd.weights.weight_file import read_weights

M = "model.diffusion_model."
UNET = {
    f"{M}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{M}input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
    f"{M}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}
SD1 = UNET | {
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
    "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight": (768, 768),
}
NORM = f"{M}output_blocks.11.1.transformer_blocks.0.norm1.bias"
SD2 = UNET | {f"{M}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024), NORM: (320,)}
SDXL = {
    f"{M}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{M}label_emb.0.0.weight": (1280, 2816),
    f"{M}input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight": (1280, 2048),
    "conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight": (768, 768),
    "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight": (3840, 1280),
}
SD3 = {
    f"{M}joint_blocks.0.x_block.attn.qkv.weight": (7296, 2432),
    f"{M}x_embedder.proj.weight": (2432, 16, 2, 2),
    "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096),
}
MEDIUM = {
    f"{M}joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536),
    f"{M}joint_blocks.0.x_block.attn2.qkv.weight": (4608, 1536),
}
SCHNELL = {"double_blocks.0.img_attn.qkv.weight": (9216, 3072), "img_in.weight": (3072, 64)}
DEV = SCHNELL | {"guidance_in.in_layer.weight": (3072, 256)}
HINT = {"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}
DOWN, UP = "lora_down.weight", "lora_up.weight"
LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def nine(outline: dict) -> dict:
    return outline | {f"{M}input_blocks.0.0.weight": (320, 9, 3, 3)}


CASES = [
    ("sd1", SD1, "model sd15 sd1 epsilon single-file unet,vae,text_encoder"),
    ("sd1 unet", UNET, "model sd15 sd1 epsilon single-file unet"),
    ("sd1 inpainting", nine(SD1), "model sd15-inpainting sd1 epsilon single-file unet,vae,text_encoder inpainting"),
    ("pix2pix", UNET | {f"{M}input_blocks.0.0.weight": (320, 8, 3, 3)}, "model - sd1 epsilon single-file unet"),
    ("sd1 ema", SD1 | {"model_ema.diffusion_modelout2bias": (4,)},
     "model sd15 sd1 epsilon single-file unet,vae,text_encoder ema"),
    ("sd2 flat", SD2, "model sd21-base sd2 epsilon single-file unet"),
    ("sd2 inpainting", nine(SD2), "model - sd2 epsilon single-file unet inpainting"),
    ("sdxl", SDXL, "model sdxl sdxl epsilon single-file unet,text_encoder,text_encoder_2"),
    ("sdxl v", SDXL | {"v_pred": (0,), "ztsnr": (0,)}, "model sdxl sdxl v_prediction single-file "
     "unet,text_encoder,text_encoder_2"),
    ("sdxl inpainting", nine(SDXL), "model - sdxl epsilon single-file unet,text_encoder,text_encoder_2 inpainting"),
    ("sd35-large", SD3, "model sd35-large sd3 flow single-file transformer,text_encoder_3"),
    ("sd35-large-turbo", SD3, "model sd35-large-turbo sd3 flow single-file transformer,text_encoder_3"),
    ("sd35-medium", MEDIUM, "model sd35-medium sd3 flow single-file transformer"),
    ("sd3", {f"{M}joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536), f"{M}x_embedder.proj.weight": (1536, 16, 2, 2)},
     "model - sd3 flow single-file transformer"),
    ("dev", DEV, "model flux-dev flux flow single-file transformer"),
    ("schnell", SCHNELL, "model flux-schnell flux flow single-file transformer"),
    ("fill", DEV | {"img_in.weight": (3072, 384)}, "model - flux flow single-file transformer inpainting"),
    ("chroma", SCHNELL | {"distilled_guidance_layer.norms.0.scale": (1,)}, "model - - - single-file transformer"),
    ("diffusers unet", {"conv_in.weight": (320, 4, 3, 3), "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight":
     (320, 768)}, "model sd15 sd1 epsilon diffusers unet"),
    ("diffusers flux", {"x_embedder.weight": (3072, 64), "transformer_blocks.0.attn.to_q.weight": (3072, 3072),
     "single_transformer_blocks.0.attn.to_q.weight": (3072, 3072)}, "model flux-schnell flux flow diffusers transformer"),
    ("diffusers sd35-large", {"pos_embed.proj.weight": (2432, 16, 2, 2), "transformer_blocks.0.attn.to_q.weight":
     (2432, 2432)}, "model sd35-large sd3 flow diffusers transformer"),
    ("sd1 lora", {f"{LORA}.{DOWN}": (4, 768), f"{LORA}.{UP}": (320, 4), f"{LORA}.alpha": ()},
     "lora sd15 sd1 epsilon kohya"),
    ("sdxl lora", {f"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.{DOWN}": (4, 2048)},
     "lora sdxl sdxl epsilon kohya"),
    ("sd2 lora", {f"{LORA}.{DOWN}": (4, 1024)}, "lora - sd2 - kohya"),
    ("peft lora", {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (4, 768),
                   "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight": (320, 4)},
     "lora sd15 sd1 epsilon peft"),
    ("old lora", {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.up.weight": (320, 4),
                  "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight": (4, 768)},
     "lora sd15 sd1 epsilon peft"),
    ("text lora", {f"lora_te_text_model_encoder_layers_0_self_attn_q_proj.{DOWN}": (4, 768)}, "lora sd15 sd1 epsilon kohya"),
    ("text lora sdxl", {f"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.{DOWN}": (4, 768),
                        f"lora_te2_text_model_encoder_layers_0_self_attn_q_proj.{DOWN}": (4, 1280)},
     "lora sdxl sdxl epsilon kohya"),
    ("sd3 lora", {f"lora_unet_joint_blocks_0_x_block_attn_qkv.{DOWN}": (4, 2432)}, "lora sd35-large sd3 flow kohya"),
    ("peft sd3 lora", {"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": (4, 2432)},
     "lora sd35-large sd3 flow peft"),
    ("flux lora", {f"lora_unet_double_blocks_0_img_attn_qkv.{DOWN}": (4, 3072)}, "lora - flux flow kohya"),
    ("flux lora dev", {f"lora_unet_single_blocks_0_linear1.{DOWN}": (4, 3072)}, "lora flux-dev flux flow kohya"),
    ("peft flux lora", {"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": (4, 3072)}, "lora - flux flow peft"),
    ("sd1 controlnet", HINT | {"control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768)},
     "controlnet sd15 sd1 - single-file"),
    ("sd2 controlnet", HINT | {"control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024)},
     "controlnet sd21 sd2 - single-file"),
    ("sdxl controlnet", {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "add_embedding.linear_1.weight":
     (1280, 2816)}, "controlnet sdxl sdxl - single-file"),
    ("control lora", {"lora_controlnet": (0,), "input_blocks.4.1.transformer_blocks.0.attn2.to_k.down": (128, 2048)},
     "controlnet sdxl sdxl - single-file"),
    ("sd35 controlnet", {"controlnet_blocks.0.weight": (2432, 2432), "transformer_blocks.0.attn.to_q.weight": (2432, 2432)},
     "controlnet sd35-large sd3 - diffusers"),
    ("flux controlnet", {"controlnet_x_embedder.weight": (3072, 64), "transformer_blocks.0.attn.to_q.weight": (3072, 3072)},
     "controlnet flux-dev flux - diffusers"),
    ("tiny controlnet", {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "conv_in.weight": (32, 4, 3, 3),
     "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (32, 64)}, "controlnet tiny sd1 - diffusers"),
    ("sd35 controlnet of Stability AI", {"controlnet_blocks.0.weight": (2432, 2432), "transformer_blocks.0.attn.qkv.weight":
     (7296, 2432), "pos_embed_input.proj.weight": (2432, 16, 2, 2)}, "controlnet sd35-large sd3 - diffusers"),
    ("sd3 controlnet", {"controlnet_blocks.0.weight": (1536, 1536), "transformer_blocks.0.attn.to_q.weight": (1536, 1536),
     "pos_embed_input.proj.weight": (1536, 16, 2, 2)}, "controlnet - sd3 - diffusers"),
    ("flux controlnet of XLabs", {"controlnet_blocks.0.weight": (3072, 3072), "input_hint_block.0.weight": (16, 3, 3, 3),
     "double_blocks.0.img_attn.norm.key_norm.scale": (128,)}, "controlnet flux-dev flux - single-file"),
    ("qwen controlnet", {"controlnet_x_embedder.weight": (3072, 64), "controlnet_blocks.0.weight": (3072, 3072),
     "transformer_blocks.0.img_mlp.net.0.proj.weight": (12288, 3072)}, "controlnet - - - diffusers"),
    ("kolors controlnet", {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "encoder_hid_proj.weight": (2048, 4096),
     "add_embedding.linear_1.weight": (1280, 5632)}, "controlnet - - - single-file"),
    ("vae", {"decoder.conv_in.weight": (512, 4, 3, 3)}, "vae - - - single-file vae"),
    ("t5", {"encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}, "text_encoder - - - single-file"),
    ("embedding", {"emb_params": (8, 768)}, "embedding sd15 sd1 - single-file"),
    ("embedding sd2", {"<cup>": (1024,)}, "embedding - sd2 - single-file"),
    ("embedding sdxl", {"clip_l": (2, 768), "clip_g": (2, 1280)}, "embedding sdxl sdxl - single-file"),
]  # fmt: skip


def in_words(path: Path) -> str:
    found = detect(path)
    words = [found.kind, found.family or "-", found.layout or "-", found.prediction or "-", found.form]
    words += [",".join(found.parts)] * bool(found.parts)
    return " ".join(words + ["inpainting"] * found.inpainting + ["ema"] * found.ema)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize(("outline", "meant"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_files_are_recognised_by_the_keys_that_tell(
    tmp_path: Path, request: pytest.FixtureRequest, outline: dict, meant: str, suffix: str
) -> None:
    name = request.node.callspec.id.replace("turbo", "Turbo").split("-.")[0]
    assert in_words(sparse_file(tmp_path / f"{name}{suffix}", outline)) == meant


def test_the_table_names_families_as_the_records_do() -> None:
    for network in NETWORKS:
        for name, _ in network.families:
            assert FAMILIES[name].layout == network.layout
            assert FAMILIES[name].inpainting == network.inpainting
    named = {name for network in NETWORKS for name, _ in network.families}
    assert named == set(FAMILIES)


SPREAD = {"wide": 0.25, "narrow": 0.0625}


def with_norm(path: Path, kind: str, dtype: str = "F16") -> Path:
    """An SD 2 file whose last norm spreads by what SPREAD says: half of its values so far above zero, half below."""
    sparse_file(path, SD2, dtype)
    values = [SPREAD[kind], -SPREAD[kind]] * 160
    packed = struct.pack("<320f", *values)
    if dtype == "F16":
        packed = struct.pack("<320e", *values)
    elif dtype == "BF16":
        packed = b"".join(packed[at + 2 : at + 4] for at in range(0, len(packed), 4))
    write_values(path, read_weights(path)[0][NORM].offset, packed)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize(("kind", "family"), [("wide", "sd21"), ("narrow", "sd21-base")])
def test_what_sd2_predicts_is_read_from_one_norm(
    tmp_path: Path, kind: str, family: str, dtype: str, suffix: str
) -> None:
    found = detect(with_norm(tmp_path / f"model{suffix}", kind, dtype))
    assert found.family == family
    assert f"spreads by {SPREAD[kind]:.3f}" in found.signals[-1]
    assert found.dtypes == (dtype,)


def test_the_signals_stand_in_the_order_of_their_weight(tmp_path: Path) -> None:
    """Each later signal says v while the one before says epsilon, and is not asked."""
    path = with_norm(tmp_path / "model.safetensors", "wide")
    assert detect(path).prediction == "v_prediction"
    (tmp_path / "model.yaml").write_text("model:\n  target: ldm.LatentDiffusion\n")
    assert detect(path).prediction == "epsilon"
    for text in ('model:\n  params:\n    parameterization: "v"\n', '{"params": {\n "parameterization": "v"}}\n'):
        (tmp_path / "model.yaml").write_text(text)
        assert detect(path).prediction == "v_prediction"
    sparse_file(path, SD2 | {"v_pred": (0,)}, metadata={"modelspec.prediction_type": "epsilon"})
    assert detect(path).prediction == "epsilon"
    assert "modelspec.prediction_type epsilon" in detect(path).signals[-1]


@pytest.mark.parametrize(("metadata", "family"), [
    ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "sd21"),
    ({"modelspec.architecture": "stable-diffusion-v2-512"}, "sd21-base"),
    ({"ss_base_model_version": "sd_v2_v"}, "sd21"),
    ({"modelspec.prediction_type": "v"}, "sd21"),
    ({"global_step": "875000"}, "sd21-base"),
    ({"global_step": "140000"}, "sd21"),
    ({}, ""),
])  # fmt: skip
def test_metadata_tells_what_sd2_predicts(tmp_path: Path, metadata: dict, family: str) -> None:
    outline = {key: shape for key, shape in SD2.items() if key != NORM}
    for suffix in (".safetensors", ".ckpt"):
        assert detect(sparse_file(tmp_path / f"model{suffix}", outline, metadata=metadata)).family == family


@pytest.mark.parametrize(("metadata", "meant"), [
    ({"ss_base_model_version": "sd_v1"}, "lora sd15 sd1 epsilon kohya"),
    ({"ss_base_model_version": "sd_v2_v"}, "lora sd21 sd2 v_prediction kohya"),
    ({"ss_base_model_version": "sdxl_base_v1-0"}, "lora sdxl sdxl epsilon kohya"),
    ({"modelspec.architecture": "flux-1-dev/lora"}, "lora flux-dev flux flow kohya"),
    ({"modelspec.architecture": "stable-diffusion-3-medium/lora"}, "lora - sd3 flow kohya"),
    ({}, "lora - - - kohya"),
])  # fmt: skip
def test_a_lora_whose_layers_tell_nothing_is_told_by_its_metadata(tmp_path: Path, metadata: dict, meant: str) -> None:
    outline = {f"lora_unet_down_blocks_0_resnets_0_conv1.{DOWN}": (4, 320, 3, 3)}
    assert in_words(sparse_file(tmp_path / "odd.safetensors", outline, metadata=metadata)) == meant


def test_a_norm_near_the_border_is_said_to_be(tmp_path: Path) -> None:
    path = with_norm(tmp_path / "model.safetensors", "wide", "F32")
    write_values(path, read_weights(path)[0][NORM].offset, struct.pack("<320f", *[0.095, -0.095] * 160))
    assert "a trial picture should decide" in detect(path).signals[-1]


def test_dtypes_are_told_by_their_bytes(tmp_path: Path) -> None:
    assert detect(sparse_file(tmp_path / "a.safetensors", DEV, "F8_E4M3")).dtypes == ("F8_E4M3",)
    assert detect(sparse_file(tmp_path / "b.safetensors", DEV, "BF16")).dtypes == ("BF16",)


def test_of_an_unknown_file_is_said_what_was_looked_for(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "odd.safetensors", {"layer.0.weight": (2, 2), "layer.1.weight": (2, 2)})
    found = detect(path)
    assert (found.kind, found.family, found.layout) == ("unknown", "", "")
    assert "lora_down" in found.signals[0] and "input_blocks" in found.signals[0]
    assert found.signals[1] == "found 2 tensors: layer.0.weight, layer.1.weight"
    with pytest.raises(WeightsError, match=r"odd\.safetensors is of no kind that fsd knows: looked for"):
        require_model(path)


def test_odd_keys_break_nothing(tmp_path: Path) -> None:
    path = sparse_file(
        tmp_path / "odd.safetensors", {"a\nconv_in.weight": (320, 4, 3, 3), "attn2.to_k" * 100_000: (1,)}
    )
    assert detect(path).kind == "unknown"


def test_an_embedding_of_the_web_ui_is_recognised(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    content = {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.zeros(2, 1024)}, "name": "cup", "step": 9}
    torch.save(content, tmp_path / "cup.pt")
    assert in_words(tmp_path / "cup.pt") == "embedding - sd2 - single-file"
    assert detect(tmp_path / "cup.pt").metadata["name"] == "cup"


def test_only_a_model_passes_for_a_model(tmp_path: Path) -> None:
    assert require_model(sparse_file(tmp_path / "model.safetensors", SD1)).family == "sd15"
    for name, outline, says in (
        ("lora", {f"{LORA}.{DOWN}": (4, 768)}, "not a whole model but a LoRA (Stable Diffusion 1)"),
        ("vae", {"decoder.conv_in.weight": (512, 4, 3, 3)}, "not a whole model but a VAE"),
        ("chroma", SCHNELL | {"distilled_guidance_layer.x": (1,)}, "Chroma"),
    ):
        with pytest.raises(WeightsError, match=re.escape(says)):
            require_model(sparse_file(tmp_path / f"{name}.safetensors", outline))


@pytest.mark.parametrize(("content", "says"), [
    (b"GGUF" + bytes(20), "a GGUF file"), (b"<!DOCTYPE html><html>", "a web page"), (b"Rar!" + bytes(20), "a RAR archive"),
    (b"", "it has 0 bytes"),
])  # fmt: skip
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, says: str) -> None:
    for name in ("model.safetensors", "model.ckpt"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=says):
            detect(tmp_path / name)
    with pytest.raises(WeightsError, match="No such file"):
        detect(tmp_path / "nothing.safetensors")


def test_a_diffusers_folder_is_told_by_its_backbone_and_its_scheduler(tmp_path: Path) -> None:
    unet = {
        "conv_in.weight": (320, 4, 3, 3),
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
    }
    for part, outline in (("unet", unet), ("vae", {"decoder.conv_in.weight": (512, 4, 3, 3)})):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text("{}")
        sparse_file(tmp_path / part / "diffusion_pytorch_model.safetensors", outline)
    assert in_words(tmp_path) == "model - sd2 - diffusers unet,vae"
    (tmp_path / "scheduler").mkdir()
    for said, family in (("v_prediction", "sd21"), ("epsilon", "sd21-base")):
        (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": said}))
        assert detect(tmp_path).family == family
    assert detect(tmp_path / "vae").kind == "vae"
