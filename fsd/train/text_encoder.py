"""Stage 1: the text encoders learn the subject's name, through the UNet's eyes. `python -m fsd.train.text_encoder`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fsd.runtime.child import stage_main
from fsd.train import loop
from fsd.train.batch import Batch
from fsd.train.device import freeze, load_backbone
from fsd.train.loss import dreambooth_loss
from fsd.train.network import network_of, text_pipeline
from fsd.train.prepare import Prepared, run_stage
from fsd.train.prompts import load_text_encoder
from fsd.train.together import prepared as prepared_network
from fsd.weights.backbone import text_parts


def build(prepared: Prepared) -> loop.Stage:
    """The stage: the text encoders trained; the UNet frozen, or trained with them and thrown away (`unet="joint"`)."""
    origin, accelerator = prepared.origin, prepared.accelerator
    recipe, device, model = origin.recipe, accelerator.device, origin.base
    parts = text_parts(model)
    trained = {part: load_text_encoder(model, part, origin.folder(part), device) for part in parts}
    unet = load_backbone(model, "unet", origin.folder("unet"), device)
    if recipe.text_encoder.unet == "joint":
        trained["unet"] = unet
    else:
        freeze(unet, accelerator)
    for module in trained.values():
        module.train()
    if recipe.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        for part in parts:
            trained[part].gradient_checkpointing_enable()
    kind, pipeline = network_of(model), text_pipeline(model, {part: trained[part] for part in parts})
    prompts = prepared.prompts

    def compute(noisy: Tensor, timesteps: Tensor, chosen: list[int]) -> Tensor:
        return kind.predict(unet, noisy, timesteps, kind.encode(pipeline, [prompts[row] for row in chosen]))

    network = prepared_network(trained | {"unet": unet}, compute, accelerator)

    def loss(batch: Batch) -> Tensor:
        with accelerator.autocast():
            predicted = network(batch.noisy, batch.timesteps, batch.prompts)
        return dreambooth_loss(predicted, batch.target, batch.weights, batch.mask)

    def write(_: dict[str, Tensor], folder: Path, last: bool) -> None:
        for name, module in trained.items():
            if name in parts or not last:
                module.save_pretrained(folder / name)

    settings = recipe.text_encoder
    rates = dict.fromkeys(trained, settings.learning_rate)
    return loop.Stage("text_encoder", settings.steps, network, trained, rates, prepared.batches_at, loss, write)


if __name__ == "__main__":
    stage_main(lambda arguments: run_stage(arguments, "text_encoder", build))
