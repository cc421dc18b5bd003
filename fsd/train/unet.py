"""Stage 2: the UNet learns the subject, from cached latents and embeddings alone. `python -m fsd.train.unet`."""

from __future__ import annotations

from torch import Tensor

from fsd.runtime.child import stage_main
from fsd.train import loop
from fsd.train.device import load_unet
from fsd.train.latents import encode_prompts
from fsd.train.loss import dreambooth_loss
from fsd.train.prepare import Prepared, run_stage


def build(prepared: Prepared) -> loop.Stage:
    """The stage: only the UNet in memory; the prompts are encoded once by stage 1's text encoder, which then leaves."""
    origin, accelerator, batches = prepared.origin, prepared.accelerator, prepared.batches
    device = accelerator.device
    prompts = sorted(set(prepared.prompts))
    text_encoder, cache = origin.parts["text_encoder"], origin.session.cache
    embeddings = encode_prompts(prompts, text_encoder, prepared.tokenizer(), cache, device).to(device)
    row_of = [prompts.index(prompt) for prompt in prepared.prompts]
    unet = load_unet(origin.folder("unet"), device).train()
    if origin.recipe.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    unet = accelerator.prepare(unet)

    def loss(step: int) -> Tensor:
        batch = batches.at(step, device)
        states = embeddings[[row_of[row] for row in batch.rows]]
        with accelerator.autocast():
            predicted = unet(batch.noisy, batch.timesteps, states).sample
        return dreambooth_loss(predicted, batch.target, batch.weights)

    settings = origin.recipe.unet
    return loop.Stage("unet", settings.steps, settings.learning_rate, {"unet": unet}, "unet", loss)


if __name__ == "__main__":
    stage_main(lambda arguments: run_stage(arguments, "unet", build))
