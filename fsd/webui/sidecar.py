"""The .yaml beside a model, from which AUTOMATIC1111 builds what it cannot tell by the tensors: SD 2, and small SD 1s."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsd.errors import FsdError, WeightsError
from fsd.families.configs import family_config
from fsd.families.family import ModelFamily
from fsd.runtime.files import make_folder, write_json, write_text
from fsd.weights.base_model import find_base_model
from fsd.weights.ckpt import write_sidecar as write_sd2_sidecar
from fsd.weights.keys import get_layout
from fsd.weights.metadata import latent_diffusion, target, unet_sizes, vae_sizes
from fsd.weights.outlines import Config
from fsd.weights.parts import read_config, read_json
from fsd.weights.weight_file import read_weights

_PARTS = ("unet", "vae", "text_encoder")
_SMALL = "fsd_small_models"
"""The module with the classes for small models, which the installation puts into AUTOMATIC1111's environment."""
_FIRST = "model.diffusion_model.input_blocks.0.0.weight"
_USUAL_WIDTHS = {"sd1": 320}
"""The UNet's first width that the web UI takes a model of a layout to have."""
_TOKENIZER = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": "<|startoftext|>"}
_SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


def write_sidecar(file: Path, family: ModelFamily, base: Path | None = None) -> Path | None:
    """The .yaml that web UIs need beside the model `file`, None where they need none; what is there already is kept.

    base: the Diffusers folder that the model was made from; None: the family's own. A small model gets the folder
    FILE.tokenizer beside it too. WeightsError when the base's UNet is of another width than the file's.
    """
    path = file.with_suffix(".yaml")
    layout = get_layout(family.layout)
    if path.is_symlink() or (layout.sidecar and path.is_file()):
        return path
    if layout.sidecar:
        return write_sd2_sidecar(file, _configs(family, base), family.prediction)
    usual_width = _USUAL_WIDTHS.get(family.layout)
    if usual_width is None or (width := _width(file)) == usual_width:
        return None
    folder = base or find_base_model(family.name)
    configs = {name: read_config(folder / name) for name in _PARTS}
    if configs["unet"]["block_out_channels"][0] != width:
        raise WeightsError(
            f"{file.name} has a UNet of width {width}, and {folder} one of {configs['unet']['block_out_channels'][0]}",
            "name the base model that it was made from",
        )
    tokenizer = write_tokenizer(folder, configs["text_encoder"], file.with_suffix(".tokenizer"))
    write_text(path, small_sidecar(configs, tokenizer, family.prediction))
    return path


def _width(file: Path) -> int:
    """The first width of the UNet in the file."""
    tensors, _ = read_weights(file)
    if _FIRST not in tensors:
        raise WeightsError(f"{file.name} has no {_FIRST}: it is no whole model", "look at it with fsd inspect")
    return tensors[_FIRST].shape[0]


def _configs(family: ModelFamily, base: Path | None) -> dict[str, Config]:
    """The configurations of the base's UNet and VAE, else the family's own."""
    found: dict[str, Config] = {}
    for name in ("unet", "vae"):
        try:
            found[name] = read_config(base / name) if base else family_config(family.name, name)
        except FsdError:
            found[name] = family_config(family.name, name)
    return found


def small_sidecar(configs: Mapping[str, Config], tokenizer: Path, prediction: str) -> str:
    """The .yaml of a small SD 1, whose classes are told how many groups its norms have; JSON is YAML too."""
    unet, vae = configs["unet"], configs["vae"]
    settings = latent_diffusion(
        configs,
        prediction,
        target(f"{_SMALL}.SmallUNet", groups=unet.get("norm_num_groups", 32), **unet_sizes(unet)),
        target(f"{_SMALL}.SmallAutoencoder", groups=vae.get("norm_num_groups", 32), **vae_sizes(vae)),
        target("ldm.modules.encoders.modules.FrozenCLIPEmbedder", version=str(tokenizer), max_length=77),
    )
    return json.dumps(settings, indent=1) + "\n"


def write_tokenizer(base: Path, text_encoder: Config, folder: Path) -> Path:
    """`folder` with the base's CLIP tokenizer in the files that transformers 4.30 reads, and its text encoder's sizes."""
    make_folder(folder)
    source, folder = base / "tokenizer", folder.absolute()
    if (source / "tokenizer.json").is_file():
        stored = read_json(source / "tokenizer.json")["model"]
        vocabulary, merges = stored["vocab"], stored["merges"]
        lines = ["#version: 0.2", *(merge if isinstance(merge, str) else " ".join(merge) for merge in merges)]
        write_text(folder / "merges.txt", "\n".join(lines) + "\n")
    else:
        vocabulary = read_json(source / "vocab.json")
        write_text(folder / "merges.txt", (source / "merges.txt").read_text(encoding="utf-8"))
    write_text(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    stored = read_json(source / "tokenizer_config.json")
    special = {
        name: _text(stored.get(name, usual))
        for name, usual in (_SPECIAL | {"pad_token": _SPECIAL["eos_token"]}).items()
    }
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", _TOKENIZER | special)
    write_json(
        folder / "config.json", {**text_encoder, "architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
    )
    return folder


def _text(token: Any) -> str:
    """A special token's text, however it is stored."""
    return str(token["content"] if isinstance(token, dict) else token)
