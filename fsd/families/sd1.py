"""Stable Diffusion 1.5 and its inpainting model (CompVis, Stability AI, Runway; 2022). Runway's repositories are gone."""

from dataclasses import replace

from fsd.families.family import UNET_TARGETS, Method, ModelFamily, RemoteFile, Source, TextEncoder

SD15 = ModelFamily(
    name="sd15",
    title="Stable Diffusion 1.5",
    sources=(
        Source("stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"),
        Source(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            file=RemoteFile(
                "v1-5-pruned-emaonly.safetensors",
                4_265_146_304,
                "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
            ),
        ),
    ),
    licence="CreativeML Open RAIL-M",
    gated=False,
    native_px=512,
    usual_px=(256, 640),
    allowed_px=(256, 768),
    latent_factor=8,
    latent_channels=4,
    latent_scale=0.18215,
    latent_shift=0.0,
    prediction="epsilon",
    inpainting=False,
    text_encoders=(TextEncoder("text_encoder", "CLIP ViT-L/14"),),
    backbone="unet",
    lora_targets=UNET_TARGETS,
    layout="sd1",
    controlnets="sd1",
    methods=(Method("full", 9.9, "fp16, 8-bit Adam, gradient checkpointing, 512 px, on a T4 (ShivamShrirao's table)"),),
    web_uis=("a1111", "forge", "forge-neo", "comfyui"),
    sample_steps=30,
    guidance=7.5,
)

SD15_INPAINTING = replace(
    SD15,
    name="sd15-inpainting",
    title="Stable Diffusion 1.5 inpainting",
    sources=(
        Source("stable-diffusion-v1-5/stable-diffusion-inpainting", "8a4288a76071f7280aedbdb3253bdb9e9d5d84bb"),
        Source(
            "webui/stable-diffusion-inpainting",
            file=RemoteFile(
                "sd-v1-5-inpainting.safetensors",
                4_265_203_873,
                "0ec8f8585b104417a8c34a9fbcc1e922a70b8c15490ec4553087f01c8cf33673",
            ),
        ),
    ),
    inpainting=True,
    methods=(),
)
