"""A ControlNet small enough to use in a test: the shape of a model's UNet, random values."""

from __future__ import annotations

from pathlib import Path

from micro import diffusers, torch


def make_controlnet(folder: Path, model: Path) -> Path:
    """A Diffusers folder of a ControlNet for the model in another one; its values are large enough to be seen."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(model / "unet")
    torch.manual_seed(3)
    network = diffusers.ControlNetModel.from_unet(unet)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith(("controlnet_", "controlnet_cond_embedding.conv_out")):
                weight += 0.3 * torch.randn(weight.shape)
    network.save_pretrained(folder)
    return folder
