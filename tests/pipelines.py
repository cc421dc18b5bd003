"""A tiny random pipeline of each layout, with the parts and the peculiarities of its family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from micro import diffusers, letters_tokenizer, make_folder, torch, transformers

PX = 32


def make_sd2(folder: Path) -> Path:
    """SD 2's shape: linear projections, heads by block, OpenCLIP's activation, v-prediction."""
    torch.manual_seed(2)
    unet = diffusers.UNet2DConditionModel(
        sample_size=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4, attention_head_dim=[1, 2],
        cross_attention_dim=24, use_linear_projection=True, **_two_blocks(),
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae(4), text_encoder=clip(24, "gelu"), tokenizer=letters_tokenizer(), unet=unet,
        scheduler=ddim(prediction_type="v_prediction"), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    return saved(pipeline, folder)


def make_sdxl(folder: Path) -> Path:
    """SDXL's shape: two text encoders, deeper attention, the embedding of sizes and pooled text."""
    torch.manual_seed(3)
    unet = diffusers.UNet2DConditionModel(
        sample_size=4, layers_per_block=2, block_out_channels=(8, 16, 16), norm_num_groups=4,
        attention_head_dim=[1, 2, 2], cross_attention_dim=24 + 32, use_linear_projection=True,
        transformer_layers_per_block=[1, 1, 2],
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 32,
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=vae(4), text_encoder=clip(24, "quick_gelu"), text_encoder_2=clip(32, "gelu", projected=True),
        tokenizer=letters_tokenizer(), tokenizer_2=letters_tokenizer(), unet=unet, scheduler=ddim(),
        add_watermarker=False,
    )  # fmt: skip
    return saved(pipeline, folder)


def make_sd3(folder: Path, dual: tuple[int, ...] = ()) -> Path:
    """SD 3.5's shape (dual: Medium's layers that attend to the picture twice): three text encoders, three layers."""
    torch.manual_seed(4)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=16, out_channels=16, num_layers=3, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=40, caption_projection_dim=16, pooled_projection_dim=16 + 24,
        pos_embed_max_size=6, qk_norm="rms_norm", dual_attention_layers=dual,
    )  # fmt: skip
    first = clip(16, "quick_gelu", projected=True)
    first.text_projection.weight.data = torch.eye(16)  # as in the published model, and as Diffusers takes for granted
    pipeline = diffusers.StableDiffusion3Pipeline(
        transformer=transformer, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae(16),
        text_encoder=first, tokenizer=letters_tokenizer(), text_encoder_2=clip(24, "gelu", projected=True),
        tokenizer_2=letters_tokenizer(), text_encoder_3=t5(40), tokenizer_3=t5_tokenizer(),
    )  # fmt: skip
    return saved(pipeline, folder)


def make_sd3_medium(folder: Path) -> Path:
    """SD 3.5 Medium's shape."""
    return make_sd3(folder, dual=(0, 1))


def make_flux(folder: Path, guidance: bool = True) -> Path:
    """FLUX.1 dev's shape."""
    torch.manual_seed(5)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=24, guidance_embeds=guidance, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    pipeline = diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae(16), text_encoder=clip(24, "quick_gelu"),
        tokenizer=letters_tokenizer(), text_encoder_2=t5(32), tokenizer_2=t5_tokenizer(), transformer=transformer,
    )  # fmt: skip
    return saved(pipeline, folder)


MAKERS: dict[str, Callable[[Path], Path]] = {
    "sd1": make_folder,
    "sd2": make_sd2,
    "sdxl": make_sdxl,
    "sd3-large": make_sd3,
    "sd3-medium": make_sd3_medium,
    "flux": make_flux,
}


def saved(pipeline: diffusers.DiffusionPipeline, folder: Path) -> Path:
    """`folder`, which now holds the pipeline; no parameter is zero, or a lost one would not be seen."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for name, value in part.named_parameters():
                if not value.any():
                    value.data.uniform_(-0.1, 0.1)
                if "text_projection" not in name:
                    value.data += 0.01 * torch.randn_like(value)
    pipeline.save_pretrained(folder)
    return folder


def vae(latent: int) -> diffusers.AutoencoderKL:
    """A VAE; with 16 latent channels it has no convolutions around the latents."""
    more: dict[str, Any] = {"use_quant_conv": False, "use_post_quant_conv": False, "shift_factor": 0.0609}
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, latent_channels=latent, sample_size=PX,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        **(more if latent == 16 else {}),
    )  # fmt: skip


def clip(width: int, activation: str, projected: bool = False) -> torch.nn.Module:
    """A CLIP text encoder of two layers."""
    tokenizer = letters_tokenizer()
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, hidden_act=activation, projection_dim=width, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config)


def t5(width: int) -> transformers.T5EncoderModel:
    """A T5 encoder of two layers."""
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=len(t5_tokenizer()), d_model=width, d_ff=2 * width, d_kv=8, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        )
    )  # fmt: skip


def t5_tokenizer() -> transformers.T5Tokenizer:
    """A T5 tokenizer that spells."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(chr(code) for code in range(33, 127))]
    vocabulary = [(piece, -float(at)) for at, piece in enumerate(pieces)]
    return transformers.T5Tokenizer(vocab=vocabulary, extra_ids=100, model_max_length=77)


def ddim(**more: Any) -> diffusers.DDIMScheduler:
    """The scheduler of SD 1.5 to SDXL."""
    return diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, **more,
    )  # fmt: skip


def _two_blocks() -> dict[str, tuple[str, str]]:
    return {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }


def picture(pipeline: diffusers.DiffusionPipeline) -> torch.Tensor:
    """What the pipeline draws in two steps, always the same."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    return pipeline("a cat", num_inference_steps=2, height=PX, width=PX, generator=generator, output_type="pt").images
