"""The files that web UIs are judged by: a folder such as people have, and what Diffusers makes the same pictures from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.random_models import random_model
from loras import UNET, add_lora, save
from micro import diffusers, make_folder, parts_of, torch, transformers
from same_picture import pipeline
from tiny_controlnet import make_controlnet

from fsd.families import get_family
from fsd.webui.sidecar import small_sidecar, write_sidecar, write_tokenizer
from fsd.weights.ckpt import save_ckpt
from fsd.weights.lora_file import convert_lora
from fsd.weights.parts import read_config
from fsd.weights.tensors import SafetensorsFrame, Target, read_header

BLOCK = "model.diffusion_model.output_blocks.7."
"""What lacking.safetensors lacks."""


@dataclass(frozen=True)
class Files:
    """What lies below `root`. opened: the file that the web UI is launched with. plain: Diffusers' pipeline of the same.

    controlnet: a Diffusers folder for it. layered: a model of two layers a block, as SD 1.5 has: AUTOMATIC1111 counts
    LoRA layers by that. changed: the same with the LoRA on.
    """

    root: Path
    opened: Path
    plain: Any
    controlnet: Path | None = None
    layered: Any = None
    changed: Any = None


def few_files(root: Path, base: Path) -> Files:
    """The tiny base as .safetensors, and as .ckpt among the checkpoints."""
    opened, pickled = root / "tiny.safetensors", folder_of(root, "Stable-diffusion") / "pickled.ckpt"
    for file in (opened, pickled):
        save_ckpt(parts_of(base), file, None)
    write_sidecar(pickled, get_family("tiny"), base)
    return Files(root, opened, pipeline(base))


def small_files(root: Path, base: Path) -> Files:
    """The same, also less a block and with a ControlNet; a random model of two layers a block with a LoRA."""
    few, checkpoints, tiny = few_files(root, base), folder_of(root, "Stable-diffusion"), get_family("tiny")
    without(few.opened, checkpoints / "lacking.safetensors", BLOCK)
    write_sidecar(checkpoints / "lacking.safetensors", tiny, base)
    controlnet = make_controlnet(folder_of(root, "ControlNet") / "tiny-control", base)
    layered = make_folder(checkpoints / "layered-folder", layers=2)  # a file tells too little of sizes of its own
    give_a_mean(layered / "text_encoder")
    save_ckpt(parts_of(layered), checkpoints / "layered.safetensors", None)
    write_sidecar(checkpoints / "layered.safetensors", tiny, layered)
    changed = lora_on(layered, folder_of(root, "Lora"))
    return replace(few, controlnet=controlnet, layered=pipeline(layered), changed=changed)


def give_a_mean(text_encoder: Path) -> None:
    """Give the last norm a bias, as trained models have: AUTOMATIC1111 divides by its mean, which by chance may be 0."""
    made = transformers.CLIPTextModel.from_pretrained(text_encoder)
    (bias,) = (weight for name, weight in made.named_parameters() if name.endswith("final_layer_norm.bias"))
    torch.nn.init.normal_(bias, mean=0.1)
    made.save_pretrained(text_encoder)


def lora_on(model: Path, folder: Path) -> Any:
    """The model's pipeline with a random LoRA on UNet and text encoder, which lies in `folder` in kohya's form."""
    made = pipeline(model)
    torch.manual_seed(0)
    add_lora(made.unet, UNET)
    add_lora(made.text_encoder, ["q_proj", "k_proj", "v_proj", "out_proj"])
    stored = save(made.unet, "sd1", folder.parent, made.text_encoder)
    convert_lora(stored, folder / "change.safetensors", "kohya", "sd1")
    stored.unlink()
    return made


def full_files(root: Path, base: Path) -> Files:
    """A random SD 1.5 of full size and a ControlNet for it: AUTOMATIC1111's extension takes no narrower ones."""
    folder, opened = random_model(root / "full", "sd15", "F16"), root / "full.safetensors"
    for file in folder.rglob("*.safetensors"):
        wake_norms(file)
    shutil.copytree(base / "tokenizer", folder / "tokenizer")
    save_ckpt(parts_of(folder), opened, None)
    write_full_sidecar(opened, folder)
    full_controlnet(root / "controlnet")
    listed = folder_of(root, "ControlNet") / "control_v11p_sd15_random.safetensors"
    listed.symlink_to(root / "controlnet/diffusion_pytorch_model.safetensors")
    return Files(root, opened, pipeline(folder), root / "controlnet")


def full_controlnet(folder: Path) -> None:
    """A random ControlNet of SD 1.5's size whose answers are as large as what it hears of its picture."""
    torch.manual_seed(0)
    network = diffusers.ControlNetModel(cross_attention_dim=768)
    for block in [*network.controlnet_down_blocks, network.controlnet_mid_block]:
        torch.nn.init.normal_(block.weight, std=0.5)
    for layer in network.controlnet_cond_embedding.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    torch.nn.init.normal_(network.controlnet_cond_embedding.conv_out.weight, std=1.5)
    network.half().save_pretrained(folder)


def folder_of(root: Path, kind: str) -> Path:
    """Where people keep models of a kind for all web UIs."""
    folder = root / "WebUI/models" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def without(source: Path, destination: Path, prefix: str) -> None:
    """Copy a .safetensors less the tensors whose keys begin so."""
    tensors, _ = read_header(source)
    kept = [one for key, one in tensors.items() if not key.startswith(prefix)]
    assert 0 < len(kept) < len(tensors)
    content = source.read_bytes()
    frame = SafetensorsFrame([Target(one.key, one.dtype, one.shape, (one,)) for one in kept], {})
    parts = (content[one.offset : one.offset + one.size_bytes] for one in kept)
    destination.write_bytes(frame.head + b"".join(parts))


def wake_norms(file: Path) -> None:
    """Set the scale of every norm in an fp16 .safetensors to 1: at a random one, near 0, a network hears nothing."""
    tensors, _ = read_header(file)
    with file.open("r+b") as stream:
        for one in tensors.values():
            if len(one.shape) == 1 and one.key.endswith(".weight"):
                stream.seek(one.offset)
                stream.write(np.ones(one.shape, "<f2").tobytes())


def write_full_sidecar(file: Path, folder: Path) -> None:
    """A .yaml beside a model of full size: without one AUTOMATIC1111 would fetch CLIP's tokenizer."""
    configs = {name: read_config(folder / name) for name in ("unet", "vae", "text_encoder")}
    tokenizer = write_tokenizer(folder, configs["text_encoder"], file.with_suffix(".tokenizer"))
    file.with_suffix(".yaml").write_text(small_sidecar(configs, tokenizer, "epsilon"))
