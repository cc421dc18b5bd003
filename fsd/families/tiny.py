"""The embedded tiny base model: a true Stable Diffusion of 9 million parameters, to try everything without a hub."""

from dataclasses import replace

from fsd.families.family import Method, Source
from fsd.families.sd1 import SD15

TINY = replace(
    SD15,
    name="tiny",
    title="fsd tiny base",
    sources=(Source("wheel:fsd_tiny_base"),),
    licence="Apache-2.0 (pictures: MIT and Apache-2.0)",
    native_px=128,
    usual_px=(64, 192),
    allowed_px=(64, 256),
    latent_scale=0.445121,
    controlnets="tiny",
    methods=(
        Method("full", 1.5, "of main memory, fp32, batch 4, 128 px; most of it is PyTorch", estimate=True),
        Method("text_encoder", 1.5, "as full", estimate=True),
        Method("lora", 1.5, "as full", estimate=True),
    ),
    web_uis=("a1111",),  # with the sidecar yaml that gives its width
    sample_steps=25,
    guidance=5.0,
)
