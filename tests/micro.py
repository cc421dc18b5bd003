"""A micro model of the SD 1.x layout, photos and a session on them: small enough to train in seconds."""

from __future__ import annotations

from pathlib import Path

from fsd.data.session import Session

MICRO_PX = 64


def make_micro_model(folder: Path) -> Path:
    """A Diffusers folder of the SD 1.x layout with random weights: 0.3 million and the real tokenizer."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from fsd_tiny_base import model_folder
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, projection_dim=16,
        bos_token_id=49406, eos_token_id=49407, pad_token_id=49407,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8, 16, 16), layers_per_block=1, attention_head_dim=2,
        cross_attention_dim=16, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=2,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    tokenizer = CLIPTokenizer.from_pretrained(model_folder() / "tokenizer")
    pipeline = StableDiffusionPipeline(
        vae, CLIPTextModel(text), tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.save_pretrained(folder)
    return folder


def draw_photos(folder: Path, count: int) -> Path:
    """`folder`, with so many different photos drawn into it."""
    from PIL import Image, ImageDraw

    folder.mkdir(exist_ok=True)
    for index in range(count):
        photo = Image.new("RGB", (160, 120), (37 * index % 256, 91 * index % 256, 140))
        ImageDraw.Draw(photo).ellipse((20 + 9 * index, 15, 90 + 9 * index, 95), fill=(230, 60 + 20 * index, 30))
        photo.save(folder / f"IMG_{index:04d}.png")
    return folder


def make_micro_session(root: Path, model: Path, steps: dict[str, int]) -> Session:
    """A session with four photos on the micro model, saved every other step. steps: by stage."""
    from fsd.data.photos import add_photos
    from fsd.data.session import open_session
    from fsd.recipe import Recipe

    session = open_session(root, "cup", create=True)
    add_photos(session, draw_photos(root / "photos", 4))
    recipe = Recipe(family="tiny", base_model=str(model), class_word="cup", resolution_px=MICRO_PX, batch_size=2)
    rates = {f"{stage}.learning_rate": 1e-3 for stage in steps} | {
        f"{stage}.steps": count for stage, count in steps.items()
    }
    session.save_recipe(recipe.changed(save__every_steps=2, offset_noise=0.1, **rates))
    return session
