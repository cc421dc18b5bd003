"""One stage: a LoRA on the backbone, and on the CLIP text encoders if wanted. `python -m fsd.train.lora`."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, set_peft_model_state_dict
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from fsd.families import get_family
from fsd.families.family import ModelFamily
from fsd.recipe import Recipe
from fsd.runtime.process import stage_main
from fsd.train import loop
from fsd.train.batch import Batch
from fsd.train.device import compute_dtype, load_backbone
from fsd.train.loss import dreambooth_loss
from fsd.train.network import Conditioning, backbone_part, network_of, rows, text_pipeline
from fsd.train.prepare import Prepared, run_stage
from fsd.train.prompts import load_text_encoder, text_parts
from fsd.weights.lora_stage import LORA_FILE


def build(prepared: Prepared) -> loop.Stage:
    """The stage: the model frozen in the compute precision, the LoRA in fp32.

    Text encoders that are not trained encode all prompts first and leave, before the backbone comes.
    """
    origin, accelerator, recipe = prepared.origin, prepared.accelerator, prepared.origin.recipe
    model, device, dtype = origin.base, accelerator.device, compute_dtype(accelerator)
    network, part = network_of(model), backbone_part(model)
    given = None if recipe.lora.text_encoders else prepared.encoded_prompts()
    backbone = load_backbone(model, part, origin.parts[part], device, dtype, recipe.lora.quantize)
    trained: dict[str, Any] = {part: backbone}
    pipeline = None
    if given is None:
        encoders = {
            name: load_text_encoder(model, name, origin.parts[name], device, dtype) for name in text_parts(model)
        }
        pipeline = text_pipeline(model, {name: encoder.requires_grad_(False) for name, encoder in encoders.items()})
        trained |= {name: encoder for name, encoder in encoders.items() if _targets(name, recipe)}
    for number, (name, module) in enumerate(trained.items()):
        add_adapter(module, name, recipe, recipe.seed + number)
        if recipe.gradient_checkpointing:
            (module.enable_gradient_checkpointing if name == part else module.gradient_checkpointing_enable)()
    if origin.start:
        load_adapters(trained, origin.start.folder / LORA_FILE)
    trained = {name: accelerator.prepare(module.train()) for name, module in trained.items()}
    prompts = prepared.prompts

    def conditioning(batch: Batch) -> Conditioning:
        if given is not None:
            return rows(given, batch.prompts)
        return network.encode(pipeline, [prompts[row] for row in batch.prompts])

    def loss(batch: Batch) -> Tensor:
        torch.manual_seed(batch.seed)  # for the dropout
        with accelerator.autocast():
            predicted = network.predict(trained[part], batch.noisy, batch.timesteps, conditioning(batch))
        return dreambooth_loss(predicted, batch.target, batch.weights, batch.mask)

    rates = {name: recipe.lora.learning_rate if name == part else recipe.lora.text_learning_rate for name in trained}
    return loop.Stage(
        "lora", recipe.lora.steps, trained, rates, prepared.batches_at, loss,
        lambda modules, folder, last: write_adapters(modules, model, folder),
    )  # fmt: skip


def add_adapter(module: Any, part: str, recipe: Recipe, seed: int) -> None:
    """Freeze a part and put a LoRA on it that changes nothing yet; its first matrices depend on the seed alone."""
    settings = recipe.lora
    module.requires_grad_(False)
    torch.manual_seed(seed)
    module.add_adapter(
        LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha or settings.rank, lora_dropout=settings.dropout,
            use_rslora=settings.rank_stabilized, target_modules=list(_targets(part, recipe)), init_lora_weights=True,
        )
    )  # fmt: skip
    for weight in module.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def write_adapters(modules: dict[str, nn.Module], model: Path, folder: Path) -> None:
    """Write the LoRA as Diffusers does, exactly as it is trained, with peft's settings in the header."""
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    content: dict[str, Any] = {}
    for part, module in modules.items():
        content[f"{part}_lora_layers"] = get_peft_model_state_dict(module, adapter_name="default")
        settings = module.peft_config["default"].to_dict()
        settings["target_modules"] = sorted(settings["target_modules"])  # of a set, whose order changes
        content[f"{part}_lora_adapter_metadata"] = settings
    place = folder / LORA_FILE
    getattr(importlib.import_module("diffusers"), index["_class_name"]).save_lora_weights(
        place.parent, weight_name=place.name, **content
    )


def load_adapters(modules: dict[str, Any], file: Path) -> None:
    """Take back what `write_adapters` wrote."""
    saved = load_file(file)
    for part, module in modules.items():
        mine = {key.removeprefix(f"{part}."): value for key, value in saved.items() if key.startswith(f"{part}.")}
        set_peft_model_state_dict(module, mine, adapter_name="default")


def _targets(part: str, recipe: Recipe) -> tuple[str, ...]:
    """The layers of a part that the LoRA changes, by the ends of their names; none in text encoders that take none."""
    family: ModelFamily = get_family(recipe.family)
    encoder = next((one for one in family.text_encoders if one.part == part), None)
    return encoder.lora_targets if encoder else recipe.lora.targets or family.lora_targets


if __name__ == "__main__":
    stage_main(lambda arguments: run_stage(arguments, "lora", build))
