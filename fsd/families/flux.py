"""FLUX.1 dev and schnell (Black Forest Labs, 2024): 12 billion weights that predict a flow."""

from dataclasses import replace

from fsd.families.family import Method, RemoteFile, Source, TextEncoder
from fsd.families.sd3 import SD35_LARGE

_VAE = RemoteFile(
    "vae/diffusion_pytorch_model.safetensors",
    167_666_902,
    "f5b59a26851551b67ae1fe58d32e76486e1e812def4696a4bea97f16604d40a3",
)
_DEV_FILES = (
    RemoteFile("transformer/diffusion_pytorch_model-00001-of-00003.safetensors", 9_983_040_304),
    RemoteFile("transformer/diffusion_pytorch_model-00002-of-00003.safetensors", 9_949_328_904),
    RemoteFile("transformer/diffusion_pytorch_model-00003-of-00003.safetensors", 3_870_584_832),
    _VAE,
    RemoteFile("text_encoder/model.safetensors", 246_144_352),
    RemoteFile("text_encoder_2/model-00001-of-00002.safetensors", 4_994_582_224),
    RemoteFile("text_encoder_2/model-00002-of-00002.safetensors", 4_530_066_360),
)
_CLIP = TextEncoder("text_encoder", "CLIP ViT-L/14")

FLUX_DEV = replace(
    SD35_LARGE,
    name="flux-dev",
    title="FLUX.1 [dev]",
    sources=(Source("black-forest-labs/FLUX.1-dev", "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21", files=_DEV_FILES),),
    licence="FLUX.1 [dev] Non-Commercial License",
    usual_px=(512, 1408),
    latent_scale=0.3611,
    latent_shift=0.1159,
    text_encoders=(_CLIP, TextEncoder("text_encoder_2", "T5 v1.1 XXL", tokens=512, lora_targets=())),
    layout="flux",
    controlnets="flux",
    methods=(Method("lora", 9, "NF4, 8-bit Lion, gradient checkpointing, 512 px (SimpleTuner's quickstart)"),),
    web_uis=("forge", "forge-neo", "comfyui"),
    sample_steps=28,
    guidance=3.5,
)

FLUX_SCHNELL = replace(
    FLUX_DEV,
    name="flux-schnell",
    title="FLUX.1 [schnell]",
    sources=(Source("black-forest-labs/FLUX.1-schnell", "741f7c3ce8b383c54771c7003378a50191e9efe9", files=(_VAE,)),),
    licence="Apache-2.0",
    text_encoders=(_CLIP, TextEncoder("text_encoder_2", "T5 v1.1 XXL", tokens=256, lora_targets=())),
    sample_steps=4,
    guidance=0.0,
)
