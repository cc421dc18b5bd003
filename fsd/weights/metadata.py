"""What a single file says of itself: modelspec fields, and for SD 2 a .yaml beside it that web UIs ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsd.weights.layouts import Layout
from fsd.weights.outlines import Config, layers_of

SAMPLE_BYTES = 1 << 20


def modelspec(
    layout: Layout, configs: Mapping[str, Config], prediction: str, title: str, files: Iterable[Path]
) -> dict[str, str]:
    """The metadata of a single file (github.com/Stability-AI/ModelSpec), with "format" for its readers.

    prediction: "epsilon", "v_prediction" or "flow" (which modelspec has no word for). files: what it was made from.
    """
    network, sources = configs[layout.backbone.name], sorted(set(files))
    found = {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": layout.architecture(network, prediction),
        "modelspec.implementation": layout.implementation,
        "modelspec.title": title,
        "modelspec.date": _saved_at(sources).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fsd.made_from_fingerprint": fingerprint(sources),
    }
    if prediction in ("epsilon", "v_prediction"):
        found["modelspec.prediction_type"] = prediction.removesuffix("_prediction")
    if isinstance(size := network.get("sample_size"), int):
        found["modelspec.resolution"] = f"{8 * size}x{8 * size}"
    return found


def fingerprint(files: Iterable[Path]) -> str:
    """A SHA-256, in hexadecimal, of files' sizes and of the first and the last MiB of each: enough to know them by."""
    found = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        found.update(f"{size}\n".encode())
        with file.open("rb") as stream:
            found.update(stream.read(SAMPLE_BYTES))
            stream.seek(max(size - SAMPLE_BYTES, 0))
            found.update(stream.read(SAMPLE_BYTES))
    return found.hexdigest()


def _saved_at(files: Iterable[Path]) -> datetime:
    """When the newest of the files was saved, so that the same model gives the same file."""
    return datetime.fromtimestamp(max(file.stat().st_mtime for file in files), UTC)


def sidecar(configs: Mapping[str, Config], prediction: str) -> str:
    """The text of the .yaml from which web UIs build an SD 2: network sizes and what it predicts.

    Without it AUTOMATIC1111 runs the UNet once to guess the prediction.
    """
    unet, vae = configs["unet"], configs.get("vae", {})
    linear = {"use_fp16": True, "use_linear_in_transformer": bool(unet.get("use_linear_projection"))}
    settings = latent_diffusion(
        configs,
        prediction,
        target("ldm.modules.diffusionmodules.openaimodel.UNetModel", **unet_sizes(unet), **linear),
        target("ldm.models.autoencoder.AutoencoderKL", **vae_sizes(vae)),
        target("ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder", freeze=True, layer="penultimate"),
    )
    return _yaml(settings)


def latent_diffusion(
    configs: Mapping[str, Config], prediction: str, network: Config, first_stage: Config, cond_stage: Config
) -> dict[str, Any]:
    """A model's settings in the names of Stability AI's code base. The last three: `target`s of UNet, VAE and text encoder."""
    unet, vae = configs["unet"], configs.get("vae", {})
    settings = {
        "parameterization": "v" if prediction == "v_prediction" else "eps",
        "linear_start": 0.00085,
        "linear_end": 0.012,
        "timesteps": 1000,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": unet.get("sample_size") or 64,
        "channels": unet["out_channels"],
        "cond_stage_trainable": False,
        "conditioning_key": "crossattn" if unet["in_channels"] == unet["out_channels"] else "hybrid",
        "scale_factor": vae.get("scaling_factor", 0.18215),
        "use_ema": False,
        "unet_config": network,
        "first_stage_config": first_stage,
        "cond_stage_config": cond_stage,
    }
    return {"model": target("ldm.models.diffusion.ddpm.LatentDiffusion", **settings)}


def unet_sizes(unet: Config) -> dict[str, Any]:
    """The parameters that tell a UNet's sizes, as `latent_diffusion`."""
    widths, heads = unet["block_out_channels"], unet["attention_head_dim"]
    crossing = [1 << i for i, kind in enumerate(unet["down_block_types"]) if "CrossAttn" in kind]
    return {
        "image_size": 32,
        "in_channels": unet["in_channels"],
        "out_channels": unet["out_channels"],
        "model_channels": widths[0],
        "attention_resolutions": crossing[::-1],
        "num_res_blocks": layers_of(unet),
        "channel_mult": _multiples(widths),
        **({"num_heads": heads} if isinstance(heads, int) else {"num_head_channels": widths[0] // heads[0]}),
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": unet["cross_attention_dim"],
        "use_checkpoint": False,
        "legacy": False,
    }


def vae_sizes(vae: Config) -> dict[str, Any]:
    """The parameters that tell a VAE's sizes, SD's own where the configuration is silent, as `latent_diffusion`."""
    widths, latent = vae.get("block_out_channels", (128, 256, 512, 512)), vae.get("latent_channels", 4)
    sizes = {
        "double_z": True,
        "z_channels": latent,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": widths[0],
        "ch_mult": _multiples(widths),
        "num_res_blocks": layers_of(vae),
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return {"embed_dim": latent, "ddconfig": sizes, "lossconfig": {"target": "torch.nn.Identity"}}


def _multiples(widths: Sequence[int]) -> list[float]:
    """The widths as multiples of the first one."""
    return [width // widths[0] if width % widths[0] == 0 else width / widths[0] for width in widths]


def target(name: str, **params: Any) -> dict[str, Any]:
    """A class by its whole name, with the parameters that it is made with."""
    return {"target": name, "params": params}


def _yaml(settings: Mapping[str, Any], indent: str = "") -> str:
    lines = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines.append(f"{indent}{name}:\n{_yaml(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{name}: {str(value).lower() if isinstance(value, bool) else value}\n")
    return "".join(lines)
