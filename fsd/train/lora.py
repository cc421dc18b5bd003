"""One stage: a LoRA on the backbone, and on the CLIP text encoders if wanted. `python -m fsd.train.lora`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fsd.runtime.child import stage_main
from fsd.train import loop
from fsd.train.adapter import add_adapter, load_adapters, write_adapters
from fsd.train.batch import Batch
from fsd.train.compiling import compile_blocks
from fsd.train.device import compute_dtype, load_backbone
from fsd.train.loss import dreambooth_loss
from fsd.train.network import network_of, rows, text_pipeline
from fsd.train.prepare import Prepared, run_stage
from fsd.train.prompts import load_text_encoder
from fsd.train.sharding import is_sharded
from fsd.train.together import prepared as prepared_network
from fsd.weights.backbone import backbone_part, text_parts
from fsd.weights.lora_stage import LORA_FILE, targets_of


def build(prepared: Prepared) -> loop.Stage:
    """The stage: the model frozen in the compute precision, the LoRA in fp32.

    Text encoders that are not trained encode all prompts first and leave, before the backbone comes.
    """
    origin, accelerator, recipe = prepared.origin, prepared.accelerator, prepared.origin.recipe
    model, device, dtype = origin.base, accelerator.device, compute_dtype(accelerator)
    kind, part = network_of(model), backbone_part(model)
    given = None if recipe.lora.text_encoders else prepared.encoded_prompts()
    backbone = load_backbone(
        model, part, origin.parts[part], device, dtype, recipe.lora.quantize, is_sharded(accelerator)
    )
    trained: dict[str, Any] = {part: backbone}
    pipeline = None
    if given is None:
        encoders = {
            name: load_text_encoder(model, name, origin.parts[name], device, dtype) for name in text_parts(model)
        }
        pipeline = text_pipeline(model, {name: encoder.requires_grad_(False) for name, encoder in encoders.items()})
        trained |= {name: encoder for name, encoder in encoders.items() if targets_of(name, recipe)}
    for number, (name, module) in enumerate(trained.items()):
        add_adapter(module, name, recipe, recipe.seed + number)
        if recipe.gradient_checkpointing:
            (module.enable_gradient_checkpointing if name == part else module.gradient_checkpointing_enable)()
        module.train()
    compile_blocks(backbone, recipe)
    if origin.start:
        load_adapters(trained, origin.start.folder / LORA_FILE)
    prompts = prepared.prompts

    def compute(noisy: Tensor, timesteps: Tensor, chosen: list[int]) -> Tensor:
        known = rows(given, chosen) if given is not None else kind.encode(pipeline, [prompts[row] for row in chosen])
        return kind.predict(backbone, noisy, timesteps, known)

    network = prepared_network(trained, compute, accelerator)

    def loss(batch: Batch) -> Tensor:
        torch.manual_seed(batch.seed)  # for the dropout
        with accelerator.autocast():
            predicted = network(batch.noisy, batch.timesteps, batch.prompts)
        return dreambooth_loss(predicted, batch.target, batch.weights, batch.mask)

    rates = {name: recipe.lora.learning_rate if name == part else recipe.lora.text_learning_rate for name in trained}
    return loop.Stage(
        "lora", recipe.lora.steps, network, trained, rates, prepared.batches_at, loss,
        lambda weights, folder, last: write_adapters(trained, weights, model, folder),
    )  # fmt: skip


if __name__ == "__main__":
    stage_main(lambda arguments: run_stage(arguments, "lora", build))
