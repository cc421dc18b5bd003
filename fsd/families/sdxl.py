"""Stable Diffusion XL base 1.0 (Stability AI, 2023)."""

from dataclasses import replace

from fsd.families.family import Method, RemoteFile, Source, TextEncoder
from fsd.families.sd1 import SD15

_REPOSITORY = ("stabilityai/stable-diffusion-xl-base-1.0", "462165984030d82259a11f4367a4eed129e94a7b")
_FILES = (
    RemoteFile("unet/diffusion_pytorch_model.safetensors", 10_270_077_736),
    RemoteFile("vae/diffusion_pytorch_model.safetensors", 334_643_268),
    RemoteFile(
        "text_encoder/model.safetensors",
        492_265_168,
        "5c3d6454dd2d23414b56aa1b5858a72487a656937847b6fea8d0606d7a42cdbc",
    ),
    RemoteFile(
        "text_encoder_2/model.safetensors",
        2_778_702_264,
        "3a6032f63d37ae02bbc74ccd6a27440578cd71701f96532229d0154f55a8d3ff",
    ),
)
_FILE = RemoteFile(
    "sd_xl_base_1.0.safetensors",
    6_938_078_334,
    "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b",
)

SDXL = replace(
    SD15,
    name="sdxl",
    title="Stable Diffusion XL base 1.0",
    sources=(Source(*_REPOSITORY, files=_FILES), Source(*_REPOSITORY, file=_FILE)),
    licence="CreativeML Open RAIL++-M",
    native_px=1024,
    usual_px=(768, 1280),
    allowed_px=(512, 1536),
    latent_scale=0.13025,
    text_encoders=(
        TextEncoder("text_encoder", "CLIP ViT-L/14"),
        TextEncoder("text_encoder_2", "OpenCLIP ViT-bigG/14"),
    ),
    layout="sdxl",
    controlnets="sdxl",
    methods=(
        Method("full", 10, "UNet in bf16, Adafactor stepped in the backward pass (sd-scripts pull request 1259)"),
        Method("text_encoder", 17, "UNet frozen in fp16, both text encoders, 8-bit Adam", estimate=True),
        Method("lora", 8, "rank 4 to 8, cached latents and texts (sd-scripts' manual)"),
    ),
    guidance=5.0,
)
