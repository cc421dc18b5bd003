"""Stable Diffusion 1.5 and its inpainting model (CompVis, Stability AI, Runway; 2022). Runway's repositories are gone."""

from dataclasses import replace

from fsd.families.family import UNET_TARGETS, Method, ModelFamily, RemoteFile, Source, TextEncoder

_FILES = (
    RemoteFile(
        "unet/diffusion_pytorch_model.safetensors",
        3_438_167_540,
        "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
    ),
    RemoteFile(
        "vae/diffusion_pytorch_model.safetensors",
        334_643_276,
        "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
    ),
    RemoteFile(
        "text_encoder/model.safetensors",
        492_265_874,
        "d008943c017f0092921106440254dbbe00b6a285f7883ec8ba160c3faad88334",
    ),
)
_PRUNED = RemoteFile(
    "v1-5-pruned-emaonly.safetensors",
    4_265_146_304,
    "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
)
_PRUNED_FP16 = RemoteFile(
    "v1-5-pruned-emaonly-fp16.safetensors",
    2_132_696_762,
    "e9476a13728cd75d8279f6ec8bad753a66a1957ca375a1464dc63b37db6e3916",
)
_INPAINTING = RemoteFile(
    "sd-v1-5-inpainting.safetensors",
    4_265_203_873,
    "0ec8f8585b104417a8c34a9fbcc1e922a70b8c15490ec4553087f01c8cf33673",
)
_REPOSITORY, _REVISION = "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"

SD15 = ModelFamily(
    name="sd15",
    title="Stable Diffusion 1.5",
    sources=(
        Source(_REPOSITORY, _REVISION, files=_FILES),
        Source(_REPOSITORY, _REVISION, file=_PRUNED),
        Source("Comfy-Org/stable-diffusion-v1-5-archive", file=_PRUNED_FP16),
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
    methods=(
        Method("full", 9.9, "fp16, 8-bit Adam, gradient checkpointing, 512 px, T4 (ShivamShrirao's table)"),
        Method("text_encoder", 6, "UNet frozen in fp16, 8-bit Adam, 512 px", estimate=True),
        Method("lora", 4, "gradient checkpointing, 512 px (a user, kohya_ss issue 2474)"),
    ),
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
        Source("webui/stable-diffusion-inpainting", file=_INPAINTING),
    ),
    inpainting=True,
    methods=(),
)
