"""FLUX.1 dev and schnell (Black Forest Labs, 2024): 12 billion weights that predict a flow."""

from dataclasses import replace

from fsd.families.family import Method, Source, TextEncoder
from fsd.families.sd3 import SD35_LARGE

FLUX_DEV = replace(
    SD35_LARGE,
    name="flux-dev",
    title="FLUX.1 [dev]",
    sources=(Source("black-forest-labs/FLUX.1-dev", "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21"),),
    licence="FLUX.1 [dev] Non-Commercial License",
    usual_px=(512, 1408),
    latent_scale=0.3611,
    latent_shift=0.1159,
    text_encoders=(
        TextEncoder("text_encoder", "CLIP ViT-L/14"),
        TextEncoder("text_encoder_2", "T5 v1.1 XXL", tokens=512, lora_targets=()),
    ),
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
    sources=(Source("black-forest-labs/FLUX.1-schnell", "741f7c3ce8b383c54771c7003378a50191e9efe9"),),
    licence="Apache-2.0",
    text_encoders=(
        TextEncoder("text_encoder", "CLIP ViT-L/14"),
        TextEncoder("text_encoder_2", "T5 v1.1 XXL", tokens=256, lora_targets=()),
    ),
    sample_steps=4,
    guidance=0.0,
)
