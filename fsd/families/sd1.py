"""Stable Diffusion 1.5 (CompVis, Stability AI, Runway; 2022)."""

from fsd.families.family import ModelFamily

SD15 = ModelFamily(
    name="sd15",
    title="Stable Diffusion 1.5",
    sources=("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    licence="CreativeML Open RAIL-M",
    native_px=512,
    allowed_px=(256, 768),
    latent_factor=8,
    latent_channels=4,
    prediction="epsilon",
    text_tokens=77,
    layout="sd1",
    sample_steps=30,
    guidance=7.5,
)
