"""Stable Diffusion 3.5 Large, Large Turbo and Medium (Stability AI, 2024): transformers that predict a flow."""

from dataclasses import replace

from fsd.families.family import JOINT_TARGETS, Method, ModelFamily, RemoteFile, Source, TextEncoder

_VAE = RemoteFile(
    "vae/diffusion_pytorch_model.safetensors",
    167_666_902,
    "8f53304a79335b55e13ec50f63e5157fee4deb2f30d5fae0654e2b2653c109dc",
)
_LARGE_FILES = (
    RemoteFile(
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
        9_985_185_992,
        "8ec9c4af8093417fded1eec8638f313f5671c7dd0a17a3bf64807bee9954a3e0",
    ),
    RemoteFile(
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
        6_307_519_304,
        "a84bad7103aa22d8ddf6baafc7664868b1edcd316ca6dd9c7e1f667345bd99db",
    ),
    _VAE,
    RemoteFile(
        "text_encoder/model.safetensors",
        247_323_896,
        "71e183d11db0c6b6282a4d9e0abb74125edc8692393e89ed8ee5571005f35cb1",
    ),
    RemoteFile(
        "text_encoder_2/model.safetensors",
        1_389_382_176,
        "ec310df2af79c318e24d20511b601a591ca8cd4f1fce1d8dff822a356bcdb1f4",
    ),
    RemoteFile(
        "text_encoder_3/model-00001-of-00002.safetensors",
        4_994_582_104,
        "4f2751ceeb2a96edd693e539dc5d6bba0b8d3814f49a9b3798403a0cec4b2e3d",
    ),
    RemoteFile(
        "text_encoder_3/model-00002-of-00002.safetensors",
        4_530_066_248,
        "f63154532130422309532ff56f11945fbea8266c958e3133e8e5aef85c6293c7",
    ),
)

SD35_LARGE = ModelFamily(
    name="sd35-large",
    title="Stable Diffusion 3.5 Large",
    sources=(
        Source(
            "stabilityai/stable-diffusion-3.5-large", "ceddf0a7fdf2064ea28e2213e3b84e4afa170a0f", files=_LARGE_FILES
        ),
    ),
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
    lora_targets=JOINT_TARGETS,
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
    sources=(
        Source(
            "stabilityai/stable-diffusion-3.5-large-turbo", "ec07796fc06b096cc56de9762974a28f4c632eda", files=(_VAE,)
        ),
    ),
    sample_steps=4,
    guidance=0.0,
)

SD35_MEDIUM = replace(
    SD35_LARGE,
    name="sd35-medium",
    title="Stable Diffusion 3.5 Medium",
    sources=(
        Source("stabilityai/stable-diffusion-3.5-medium", "b940f670f0eda2d07fbb75229e779da1ad11eb80", files=(_VAE,)),
    ),
    usual_px=(512, 1408),
    controlnets="sd35-medium",
    methods=(Method("lora", 8, "bf16, gradient checkpointing, 512 px", estimate=True),),
    sample_steps=40,
    guidance=4.5,
)
