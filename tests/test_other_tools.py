"""Tools that we did not write read our files, and we theirs; run where FSD_KOHYA or FSD_COMFYUI names a checkout.

Of kohya-ss/sd-scripts and Comfy-Org/ComfyUI, each with what it needs in its folder venv; else this Python runs it.
kohya's fixed sizes are made smaller for whole models; elsewhere networks are on torch's meta device and files of holes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from micro import diffusers, letters_tokenizer, torch
from other_tools import COMFYUI, LOADED_AND_SAVED, LORA, WIDTH, needs, run
from pipelines import clip, ddim, saved
from sparse import sparse_file
from test_convert import weights_of

from fsd.families import FAMILIES
from fsd.families.configs import family_config
from fsd.weights.convert import convert
from fsd.weights.detect import detect
from fsd.weights.keys import entries, get_layout, repeated
from fsd.weights.lora_file import convert_lora, write_lora
from fsd.weights.lora_layers import LoraLayer

np = pytest.importorskip("numpy")
load_file = pytest.importorskip("safetensors.torch").load_file


def as_kohya_builds_it(layout: str, folder: Path) -> Path:
    """A pipeline with the blocks of the layout's real models, as narrow as their norms allow."""
    torch.manual_seed(6)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32, 64, 128, 128), layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    if layout == "sdxl":
        unet = diffusers.UNet2DConditionModel(
            block_out_channels=(64, 128, 256), attention_head_dim=[1, 2, 4], cross_attention_dim=2048,
            use_linear_projection=True, transformer_layers_per_block=[1, 2, 10], addition_embed_type="text_time",
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + WIDTH,
        )  # fmt: skip
        pipeline = diffusers.StableDiffusionXLPipeline(
            vae=vae, text_encoder=clip(WIDTH, "quick_gelu"), text_encoder_2=clip(WIDTH, "gelu", projected=True), unet=unet,
            tokenizer=letters_tokenizer(), tokenizer_2=letters_tokenizer(), scheduler=ddim(), add_watermarker=False,
        )  # fmt: skip
        return saved(pipeline, folder)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64, 128, 128), attention_head_dim=[2, 4, 8, 8] if layout == "sd2" else 8,
        cross_attention_dim=WIDTH, use_linear_projection=layout == "sd2",
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=clip(WIDTH, "gelu"), tokenizer=letters_tokenizer(), unet=unet, scheduler=ddim(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return saved(pipeline, folder)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@needs("FSD_KOHYA")
@pytest.mark.parametrize("layout", ["sd1", "sd2", "sdxl"])
def test_kohyas_scripts_read_our_file_and_we_read_what_they_make_of_it(tmp_path: Path, layout: str) -> None:
    """kohya adds tensors to SD 2's text encoder that nothing runs; those we leave out."""
    folder = as_kohya_builds_it(layout, tmp_path / "folder")
    ours = convert(folder, tmp_path / "ours.safetensors").path
    theirs = [tmp_path / f"theirs{suffix}" for suffix in (".safetensors", ".ckpt")]
    run("FSD_KOHYA", LOADED_AND_SAVED, layout, ours, len(letters_tokenizer()), WIDTH, *theirs)
    for path in theirs:
        assert detect(path).layout == layout
        back = convert(path, tmp_path / f"back_{path.suffix[1:]}", like=folder)
        unused = r"text_projection$|logit_scale$" if layout == "sd2" else "nothing"
        assert all(re.search(unused, key) for key in back.left_out)
        assert weights_of(back.path) == weights_of(folder)
        again = convert(path, tmp_path / f"again{path.suffix}.safetensors").path
        found = {key: value for key, value in load_file(again).items() if key not in back.left_out}
        assert same(found, load_file(ours))


@needs("FSD_KOHYA")
@pytest.mark.parametrize("layout", ["sd1", "sd2", "sdxl", "sd3", "flux"])
def test_kohyas_lora_comes_back_as_it_went(tmp_path: Path, layout: str) -> None:
    """Through peft's form and back, at full size: the same layers, each with the same answer to one vector."""
    first, back, meant, found = (tmp_path / f"{name}.safetensors" for name in ("first", "back", "meant", "found"))
    run("FSD_KOHYA", LORA, layout, "", meant, first)
    assert (detect(first).kind, detect(first).layout, detect(first).form) == ("lora", layout, "kohya")
    peft = convert_lora(first, tmp_path / "peft.safetensors", "peft").path
    convert_lora(peft, back, "kohya")
    run("FSD_KOHYA", LORA, layout, back, found, "")
    before, after = (load_file(path) for path in (meant, found))
    assert before.keys() == after.keys()
    assert all((after[key] - value).norm() <= 1e-5 * value.norm() for key, value in before.items())


COMFYUIS_NAMES = {"sd1": "SD15", "sd2": "SD20", "sdxl": "SDXL", "sd3": "SD3", "flux-dev": "Flux", "flux": "FluxSchnell"}


@needs("FSD_COMFYUI")
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "tiny"])
def test_comfyui_knows_every_family_and_every_layer_of_a_lora(tmp_path: Path, family: str) -> None:
    form = get_layout(FAMILIES[family].layout)
    configs = {part.name: family_config(family, part.name) for part in form.parts}
    plan = entries(form, configs)
    keys = {entry.key: entry.shape for entry in [*plan, *repeated(form, plan)]}
    dtype = "F16" if form.backbone.name == "unet" else "F8_E4M3"  # to be mapped into memory
    model = sparse_file(tmp_path / "model.safetensors", keys, dtype)
    layers = {
        (part.name, name.removesuffix(".weight")): LoraLayer(
            np.ones((1, *shape[1:]), "<f4"), np.ones((shape[0], 1, *[1] * (len(shape) - 2)), "<f4"), "F32", 0.5
        )
        for part in form.parts
        for name, shape in part.outline(configs[part.name]).items()
        if part.name != "vae" and name.endswith(".weight") and len(shape) > 1 and "embed" not in name
    }
    lora = write_lora(tmp_path / "lora.safetensors", layers, form.name, "kohya").path
    found = json.loads(run("FSD_COMFYUI", COMFYUI, model, lora))
    assert found.pop("config") == COMFYUIS_NAMES.get(family, COMFYUIS_NAMES[form.name])
    assert found == {name: [] for name in found}
