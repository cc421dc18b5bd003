"""Stage 1: the text encoder learns the subject's name, through the UNet's eyes. `python -m fsd.train.text_encoder`."""

from __future__ import annotations

from torch import Tensor

from fsd.runtime.child import stage_main
from fsd.train import loop
from fsd.train.device import freeze, load_text_encoder, load_unet
from fsd.train.latents import tokenize
from fsd.train.loss import dreambooth_loss
from fsd.train.prepare import Prepared, run_stage


def build(prepared: Prepared) -> loop.Stage:
    """The stage: the text encoder trained; the UNet frozen, or trained with it and thrown away (`unet="joint"`)."""
    recipe, accelerator, batches = prepared.origin.recipe, prepared.accelerator, prepared.batches
    device = accelerator.device
    text_encoder = load_text_encoder(prepared.origin.folder("text_encoder"), device)
    unet = load_unet(prepared.origin.folder("unet"), device)
    trained = {"text_encoder": text_encoder}
    if recipe.text_encoder.unet == "joint":
        trained["unet"] = unet
    else:
        freeze(unet, accelerator)
    for module in trained.values():
        module.train()
    if recipe.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        text_encoder.gradient_checkpointing_enable()
    trained = {name: accelerator.prepare(module) for name, module in trained.items()}
    unet = trained.get("unet", unet)
    ids = tokenize(prepared.prompts, prepared.tokenizer()).to(device)

    def loss(step: int) -> Tensor:
        batch = batches.at(step, device)
        with accelerator.autocast():
            embeddings = trained["text_encoder"](ids[batch.rows])[0]
            predicted = unet(batch.noisy, batch.timesteps, embeddings).sample
        return dreambooth_loss(predicted, batch.target, batch.weights)

    settings = recipe.text_encoder
    return loop.Stage("text_encoder", settings.steps, settings.learning_rate, trained, "text_encoder", loss)


if __name__ == "__main__":
    stage_main(lambda arguments: run_stage(arguments, "text_encoder", build))
