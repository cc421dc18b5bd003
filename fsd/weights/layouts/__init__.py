"""The layouts of single files, as data: what the original code bases call the tensors of a Diffusers folder."""

from __future__ import annotations

from dataclasses import replace

from fsd.weights.layouts.layout import Layout, PartLayout
from fsd.weights.layouts.text import clip, open_clip, projected_clip, t5
from fsd.weights.layouts.transformers import FLUX_TRANSFORMER, SD3_TRANSFORMER
from fsd.weights.layouts.unet import SDXL_UNET, UNET, VAE

TRAINING_LEFTOVERS = (
    r"^model_ema\.",
    r"^first_stage_model\.(loss|model_ema)\.",
    r"^denoiser\.sigmas$",
    r"^(betas|logvar|(sqrt_|log_)?(alphas|one_minus_alphas|recip_alphas|recipm1_alphas)_cumprod(_prev)?|posterior_\w+)$",
    r"^(v_pred|ztsnr)$",
)

SD1 = Layout(
    name="sd1",
    architecture=lambda config, prediction: "stable-diffusion-v1",
    implementation="https://github.com/CompVis/stable-diffusion",
    parts=(UNET, VAE, clip("text_encoder", "cond_stage_model.transformer.")),
    left_out=TRAINING_LEFTOVERS,
)

SD2 = Layout(
    name="sd2",
    architecture=lambda config, prediction: (
        "stable-diffusion-v2-768-v" if prediction == "v_prediction" else "stable-diffusion-v2-512"
    ),
    implementation="https://github.com/Stability-AI/stablediffusion",
    parts=(UNET, VAE, open_clip("text_encoder", "cond_stage_model.model.", projected=False)),
    left_out=TRAINING_LEFTOVERS,
    sidecar=True,
)

SDXL = Layout(
    name="sdxl",
    architecture=lambda config, prediction: "stable-diffusion-xl-v1-base",
    implementation="https://github.com/Stability-AI/generative-models",
    parts=(
        SDXL_UNET,
        VAE,
        clip("text_encoder", "conditioner.embedders.0.transformer."),
        open_clip("text_encoder_2", "conditioner.embedders.1.model.", projected=True),
    ),
    left_out=TRAINING_LEFTOVERS,
    markers=(("v_prediction", ("v_pred",)),),
)

SD3 = Layout(
    name="sd3",
    architecture=lambda config, prediction: (
        "stable-diffusion-3.5-medium" if config.get("dual_attention_layers") else "stable-diffusion-3.5-large"
    ),
    implementation="https://github.com/Stability-AI/sd3.5",
    parts=(
        SD3_TRANSFORMER,
        VAE,
        projected_clip("text_encoder", "text_encoders.clip_l.transformer."),
        projected_clip("text_encoder_2", "text_encoders.clip_g.transformer."),
        t5("text_encoder_3", "text_encoders.t5xxl.transformer."),
    ),
    left_out=(r"^text_encoders\.\w+\.logit_scale$", r"^model_ema\."),
    aliases=(
        (r"^(?=(joint_blocks|[xty]_embedder|context_embedder|final_layer)\.|pos_embed$)", "model.diffusion_model."),
    ),
    predictions=("flow",),
)

FLUX = Layout(
    name="flux",
    architecture=lambda config, prediction: "flux-1-dev" if config.get("guidance_embeds") else "flux-1-schnell",
    implementation="https://github.com/black-forest-labs/flux",
    parts=(
        FLUX_TRANSFORMER,
        replace(VAE, prefix="vae."),
        clip("text_encoder", "text_encoders.clip_l.transformer."),
        t5("text_encoder_2", "text_encoders.t5xxl.transformer."),
    ),
    left_out=(r"^text_encoders\.\w+\.logit_scale$",),
    aliases=(
        (r"^(?=(double_blocks|single_blocks|final_layer|\w+_in)\.)", "model.diffusion_model."),
        (r"^first_stage_model\.", "vae."),
    ),
    predictions=("flow",),
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (SD1, SD2, SDXL, SD3, FLUX)}

__all__ = ["LAYOUTS", "Layout", "PartLayout"]
