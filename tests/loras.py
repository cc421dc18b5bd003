"""Tiny networks of every layout with a LoRA by peft on them, saved by Diffusers: files that we did not write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from micro import diffusers, torch, transformers

peft = pytest.importorskip("peft")

from diffusers.loaders import lora_pipeline as mixins  # noqa: E402

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
UNET = [*ATTENTION, "proj_in", "ff.net.0.proj", "conv1", "time_emb_proj", "conv_shortcut"]
JOINT = [*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "ff.net.0.proj", "ff_context.net.2"]
TARGETS = {
    "sd1": UNET,
    "sd2": UNET,
    "sdxl": [*UNET, "add_embedding.linear_1"],
    "sd3": [*JOINT, "norm_out.linear", "norm1.linear", "norm1_context.linear"],
    "flux": [*JOINT, "proj_mlp", "norm_out.linear", "norm.linear"],
}
MIXINS = {
    "sd1": mixins.StableDiffusionLoraLoaderMixin,
    "sd2": mixins.StableDiffusionLoraLoaderMixin,
    "sdxl": mixins.StableDiffusionXLLoraLoaderMixin,
    "sd3": mixins.SD3LoraLoaderMixin,
    "flux": mixins.FluxLoraLoaderMixin,
}


def network(layout: str) -> Any:
    """A tiny random UNet or transformer with the layout's names."""
    torch.manual_seed(0)
    common = {"norm_num_groups": 4, "cross_attention_dim": 24, "attention_head_dim": 2, "sample_size": 8}
    if layout in ("sd1", "sd2"):
        return diffusers.UNet2DConditionModel(
            block_out_channels=(8, 8, 12, 12), use_linear_projection=layout == "sd2", **common
        )
    if layout == "sdxl":
        return diffusers.UNet2DConditionModel(
            block_out_channels=(8, 8, 12), use_linear_projection=True, transformer_layers_per_block=(1, 1, 2),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), addition_embed_type="text_time",
            addition_time_embed_dim=8, projection_class_embeddings_input_dim=72, **common,
        )  # fmt: skip
    if layout == "sd3":
        return diffusers.SD3Transformer2DModel(
            sample_size=8, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=16, pos_embed_max_size=8,
            dual_attention_layers=(0,), qk_norm="rms_norm",
        )  # fmt: skip
    return diffusers.FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=8, guidance_embeds=True, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip


def text_encoder() -> Any:
    torch.manual_seed(1)
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=99, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
        )
    )


def add_lora(model: Any, targets: list[str], **settings: Any) -> None:
    """A LoRA of random values on those layers, and another rank on some."""
    settings = {"r": 4, "lora_alpha": 6, "rank_pattern": {"to_k": 2, "k_proj": 2}} | settings
    model.add_adapter(peft.LoraConfig(target_modules=targets, init_lora_weights=False, **settings))


def changes(model: Any) -> dict[str, torch.Tensor]:
    """What the LoRA adds to each layer's weight, as peft itself reckons it."""
    return {
        name.removeprefix("text_model."): layer.get_delta_weight(layer.active_adapters[0]).detach()
        for name, layer in model.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }


def save(model: Any, layout: str, folder: Path, text: Any = None) -> Path:
    """The LoRA as Diffusers saves it, with peft's settings in the header."""
    part = "transformer" if layout in ("sd3", "flux") else "unet"
    content = {f"{part}_lora_layers": peft.get_peft_model_state_dict(model),
               f"{part}_lora_adapter_metadata": model.peft_config["default"].to_dict()}  # fmt: skip
    if text is not None:
        content["text_encoder_lora_layers"] = peft.get_peft_model_state_dict(text, adapter_name="default")
        content["text_encoder_lora_adapter_metadata"] = text.peft_config["default"].to_dict()
    MIXINS[layout].save_lora_weights(folder, **content)
    return folder / "pytorch_lora_weights.safetensors"


def loaded(path: Path, layout: str, text: Any = None) -> dict[str, torch.Tensor]:
    """What the file adds to each layer when Diffusers loads it; on `text` too, if given, named "text_encoder.LAYER"."""
    mixin, model = MIXINS[layout], network(layout)
    if layout in ("sd3", "flux"):
        state, metadata = mixin.lora_state_dict(path.parent, weight_name=path.name, return_lora_metadata=True)
        mixin.load_lora_into_transformer(state, transformer=model, metadata=metadata, **alphas_for(layout))
    else:
        state, alphas, metadata = mixin.lora_state_dict(
            path.parent, weight_name=path.name, unet_config=model.config, return_lora_metadata=True
        )
        mixin.load_lora_into_unet(state, network_alphas=alphas, unet=model, metadata=metadata)
        if text is not None:
            mixin.load_lora_into_text_encoder(state, network_alphas=alphas, text_encoder=text, metadata=metadata)
    found = changes(model)
    return found | (
        {f"text_encoder.{name}": change for name, change in changes(text).items()} if text is not None else {}
    )


def alphas_for(layout: str) -> dict[str, Any]:
    return {"network_alphas": None} if layout == "flux" else {}


def probed(path: Path, reads: int) -> dict[str, torch.Tensor]:
    """What each layer of a Flux LoRA answers to one vector, as Diffusers reads the file."""
    torch.manual_seed(3)
    vector = torch.randn(reads)
    state = MIXINS["flux"].lora_state_dict(path.parent, weight_name=path.name)
    ends = ".lora_A.weight", ".lora_B.weight"
    names = {key.removesuffix(ends[0]).removeprefix("transformer.") for key in state if key.endswith(ends[0])}
    downs = {name: state[f"transformer.{name}{ends[0]}"] for name in names}
    return {
        name: state[f"transformer.{name}{ends[1]}"]
        @ (down @ vector.repeat(down.shape[1] // reads + 1)[: down.shape[1]])
        for name, down in downs.items()
    }
