"""The embedded tiny base model: a true Stable Diffusion of 9 million parameters, to try everything without a hub."""

from dataclasses import replace

from fsd.families.sd1 import SD15

TINY = replace(
    SD15,
    name="tiny",
    title="fsd tiny base",
    sources=("wheel:fsd_tiny_base",),
    licence="Apache-2.0 (pictures: MIT and Apache-2.0)",
    native_px=128,
    allowed_px=(64, 256),
    sample_steps=25,
    guidance=5.0,
)
