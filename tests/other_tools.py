"""What the tests have other people's tools do, each in a checkout of its own that an environment variable names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WIDTH = 96
"""Of the text encoders."""

LOADED_AND_SAVED = """
import sys
import transformers
from library import model_util, original_unet, sdxl_model_util, sdxl_original_unet
layout, source, vocabulary, width, *made = sys.argv[1:]
vocabulary, width = int(vocabulary), int(width)
def narrow(**settings):
    small = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.CLIPTextConfig(**settings | small | {"projection_dim": width, "vocab_size": vocabulary})
model_util.CLIPTextConfig = sdxl_model_util.CLIPTextConfig = narrow
model_util.UNET_PARAMS_MODEL_CHANNELS = model_util.VAE_PARAMS_CH = 32
model_util.V2_UNET_PARAMS_ATTENTION_HEAD_DIM = 2, 4, 8, 8
model_util.UNET_PARAMS_CONTEXT_DIM = model_util.V2_UNET_PARAMS_CONTEXT_DIM = width
original_unet.BLOCK_OUT_CHANNELS = 32, 64, 128, 128
original_unet.TIMESTEP_INPUT_DIM, original_unet.TIME_EMBED_DIM = 32, 128
sdxl_original_unet.MODEL_CHANNELS, sdxl_original_unet.TIME_EMBED_DIM = 64, 256
sdxl_original_unet.ADM_IN_CHANNELS = 6 * 256 + width
for path in made:
    if layout == "sdxl":
        *texts, vae, unet, logit, epoch = sdxl_model_util.load_models_from_sdxl_checkpoint("", source, "cpu")
        sdxl_model_util.save_stable_diffusion_checkpoint(path, *texts, unet, 0, 0, epoch, vae, logit, None)
    else:
        v2 = layout == "sd2"
        text, vae, unet = model_util.load_models_from_stable_diffusion_checkpoint(v2, source)
        model_util.save_stable_diffusion_checkpoint(v2, path, text, unet, None, 0, 0, None, None, vae)
"""

LORA = """
import importlib, sys
import torch
from safetensors.torch import save_file
from library import flux_models, model_util, original_unet, sd3_models, sdxl_original_unet
layout, source, changes, made = sys.argv[1:]
with torch.device("meta"):
    if layout in ("sd1", "sd2"):
        settings = model_util.create_unet_diffusers_config(layout == "sd2", True)
        net = original_unet.UNet2DConditionModel(**settings)
    elif layout == "sdxl":
        net = sdxl_original_unet.SdxlUNet2DConditionModel()
    elif layout == "sd3":
        net = sd3_models.create_sd3_mmdit(sd3_models.SD3Params(
            patch_size=2, depth=24, num_patches=147456, pos_embed_max_size=384, adm_in_channels=2048, qk_norm="rms",
            x_block_self_attn_layers=list(range(13)), context_embedder_in_features=4096,
            context_embedder_out_features=1536, model_type="5-medium"))
    else:
        net = flux_models.Flux(flux_models.configs["dev"].params)
module = importlib.import_module({"sd3": "networks.lora_sd3", "flux": "networks.lora_flux"}.get(layout, "networks.lora"))
if source:
    network, held = module.create_network_from_weights(1.0, source, None, [], net, for_inference=True)
else:
    more = {"conv_dim": 3} if layout.startswith("sd") and layout != "sd3" else {}
    network = module.create_network(1.0, 2, 1.5, None, [], net, **more)
for layer in network.unet_loras:
    network.add_module(layer.lora_name, layer)
    del layer.org_module
if source:
    network.load_state_dict(held, strict=True)
else:
    for weight in network.parameters():
        weight.data.normal_()
    network.save_weights(made, None, {})
probed = {}
for layer in network.unet_loras:
    lower, upper = layer.lora_down.weight.flatten(1), layer.lora_up.weight.flatten(1)
    torch.manual_seed(0)
    probed[layer.lora_name] = (layer.scale * upper @ (lower @ torch.randn(lower.shape[1]))).detach()
save_file(probed, changes)
"""

COMFYUI = """
import json, logging, re, sys
model_file, lora_file = sys.argv[1:]
sys.argv[1:] = ["--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import torch
import comfy.lora, comfy.sd, comfy.utils
from comfy import model_detection
told = []
logging.warning = told.append
file, metadata = comfy.utils.load_torch_file(model_file, return_metadata=True)
prefix = model_detection.unet_prefix_from_state_dict(file)
config = model_detection.model_config_from_unet(file, prefix, metadata=metadata)
config.set_inference_dtype(torch.float16, None)
target = config.clip_target(state_dict=file)
model = config.get_model(file, prefix, device="meta")
model.load_model_weights(file, prefix)
vae = comfy.utils.state_dict_prefix_replace(file, {key: "" for key in config.vae_key_prefix}, filter_keys=True)
vae = config.process_vae_state_dict(vae)
theirs = comfy.sd.VAE(sd=dict(vae)).first_stage_model.state_dict()
held = config.process_clip_state_dict(file)
text = target.clip(device="meta", dtype=torch.float16, model_options={}, **target.params)
missing, unexpected = text.load_state_dict(held, strict=False)
unused = r"\\.logit_scale$|\\.transformer\\.text_projection\\.weight$|^clip_h\\..*\\.layers\\.23\\."
missing = [key for key in missing if not re.search(unused, key)]
unexpected = [key for key in unexpected if not key.endswith(".encoder.embed_tokens.weight")]
lora = comfy.utils.load_torch_file(lora_file)
names = comfy.lora.model_lora_keys_clip(text, comfy.lora.model_lora_keys_unet(model, {}))
patches = comfy.lora.load_lora(lora, names)
there = {"diffusion_model." + key for key in model.diffusion_model.state_dict()} | set(text.state_dict())
print(json.dumps({
    "config": type(config).__name__, "told": told, "vae": sorted(set(vae) ^ set(theirs)), "missing": missing,
    "unexpected": unexpected, "left over": sorted(file), "nowhere": sorted(set(patches) - there)}))
"""


def needs(variable: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not os.environ.get(variable), reason=f"{variable} names no checkout")


def run(variable: str, script: str, *arguments: object) -> str:
    """The last line that a script says in the checkout that the variable names."""
    checkout = Path(os.environ[variable])
    own = checkout / "venv" / "bin" / "python"
    command = [own if own.exists() else sys.executable, "-c", script, *arguments]
    ended = subprocess.run(list(map(str, command)), cwd=checkout, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return (ended.stdout.splitlines() or [""])[-1]
