"""Stable Diffusion XL base 1.0 (Stability AI, 2023)."""

from dataclasses import replace

from fsd.families.family import Method, RemoteFile, Source, TextEncoder
from fsd.families.sd1 import SD15

SDXL = replace(
    SD15,
    name="sdxl",
    title="Stable Diffusion XL base 1.0",
    sources=(
        Source("stabilityai/stable-diffusion-xl-base-1.0", "462165984030d82259a11f4367a4eed129e94a7b"),
        Source(
            "stabilityai/stable-diffusion-xl-base-1.0",
            file=RemoteFile(
                "sd_xl_base_1.0.safetensors",
                6_938_078_334,
                "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b",
            ),
        ),
    ),
    licence="CreativeML Open RAIL++-M",
    native_px=1024,
    usual_px=(512, 1280),
    allowed_px=(512, 1536),
    latent_scale=0.13025,
    text_encoders=(
        TextEncoder("text_encoder", "CLIP ViT-L/14"),
        TextEncoder("text_encoder_2", "OpenCLIP ViT-bigG/14"),
    ),
    layout="sdxl",
    controlnets="sdxl",
    methods=(
        Method("full", 10.3, "UNet alone, bf16, Adafactor stepped in the backward pass (sd-scripts pull request 1259)"),
        Method("lora", 8, "rank 4 to 8, fp16, gradient checkpointing, cached latents and texts (sd-scripts' manual)"),
    ),
    guidance=5.0,
)
