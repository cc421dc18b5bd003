"""A micro model of SD 1.5's shape, photos and a session on them: small enough to train in seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsd.data.session import Session

os.environ["HF_HUB_OFFLINE"] = "1"
# Tests that run in parallel share the cores, and PyTorch's threads wait for each other busily.
if _workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // int(_workers)))

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

MICRO_PX = 64


def parts_of(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("unet", "vae", "text_encoder", "scheduler")}


def letters_tokenizer() -> transformers.CLIPTokenizer:
    """A CLIP tokenizer that spells: no vocabulary to download."""
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(vocab={word: at for at, word in enumerate(words)}, merges=[], model_max_length=77)


def make_folder(folder: Path, layers: int = 1) -> Path:
    """A random Stable Diffusion of SD 1.5's shape, narrow, with `layers` a block in UNet and VAE."""
    torch.manual_seed(layers)
    tokenizer = letters_tokenizer()
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, layers_per_block=layers, block_out_channels=(8, 16, 16, 24), norm_num_groups=4,
        attention_head_dim=2, cross_attention_dim=24,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), layers_per_block=layers, norm_num_groups=4, latent_channels=4, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
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
    session.save_recipe(recipe.changed(save__every_steps=2, samples__at_end=False, offset_noise=0.1, **rates))
    return session
