"""Stable Diffusion 3.5 Large, Large Turbo and Medium (Stability AI, 2024): transformers that predict a flow."""

from dataclasses import replace

from fsd.families.family import Method, ModelFamily, Source, TextEncoder

_TARGETS = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
)

SD35_LARGE = ModelFamily(
    name="sd35-large",
    title="Stable Diffusion 3.5 Large",
    sources=(Source("stabilityai/stable-diffusion-3.5-large", "ceddf0a7fdf2064ea28e2213e3b84e4afa170a0f"),),
    licence="Stability AI Community License",
    gated=True,
    native_px=1024,
    usual_px=(512, 1280),
    allowed_px=(512, 1536),
    latent_factor=8,
    latent_channels=16,
    latent_scale=1.5305,
    latent_shift=0.0609,
    prediction="flow",
    inpainting=False,
    text_encoders=(
        TextEncoder("text_encoder", "CLIP ViT-L/14"),
        TextEncoder("text_encoder_2", "OpenCLIP ViT-bigG/14"),
        TextEncoder("text_encoder_3", "T5 v1.1 XXL", tokens=256, lora_targets=()),
    ),
    backbone="transformer",
    lora_targets=_TARGETS,
    layout="sd3",
    controlnets="sd35-large",
    methods=(Method("lora", 10, "NF4, 8-bit Lion, 512 px (SimpleTuner's quickstart)"),),
    web_uis=("forge", "comfyui"),
    sample_steps=28,
    guidance=3.5,
)

SD35_LARGE_TURBO = replace(
    SD35_LARGE,
    name="sd35-large-turbo",
    title="Stable Diffusion 3.5 Large Turbo",
    sources=(Source("stabilityai/stable-diffusion-3.5-large-turbo", "ec07796fc06b096cc56de9762974a28f4c632eda"),),
    sample_steps=4,
    guidance=0.0,
)

SD35_MEDIUM = replace(
    SD35_LARGE,
    name="sd35-medium",
    title="Stable Diffusion 3.5 Medium",
    sources=(Source("stabilityai/stable-diffusion-3.5-medium", "b940f670f0eda2d07fbb75229e779da1ad11eb80"),),
    usual_px=(512, 1408),
    controlnets="sd35-medium",
    methods=(Method("lora", 8, "bf16, gradient checkpointing, 512 px", estimate=True),),
    sample_steps=40,
    guidance=4.5,
)
