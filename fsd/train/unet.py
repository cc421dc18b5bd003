"""Stage 2: the UNet learns the subject, from cached latents and embeddings alone. `python -m fsd.train.unet`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fsd.runtime.child import stage_main
from fsd.train import loop
from fsd.train.batch import Batch
from fsd.train.compiling import compile_blocks
from fsd.train.device import load_backbone
from fsd.train.loss import dreambooth_loss
from fsd.train.network import network_of, rows
from fsd.train.prepare import Prepared, run_stage
from fsd.train.together import prepared as prepared_network


def build(prepared: Prepared) -> loop.Stage:
    """The stage: only the UNet in memory; the prompts are encoded once by stage 1's text encoders, which then leave."""
    origin, accelerator = prepared.origin, prepared.accelerator
    given = prepared.encoded_prompts()
    unet = load_backbone(origin.base, "unet", origin.folder("unet"), accelerator.device).train()
    if origin.recipe.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    compile_blocks(unet, origin.recipe)
    network = network_of(origin.base)
    model = prepared_network({"unet": unet}, lambda *batch: network.predict(unet, *batch), accelerator)

    def loss(batch: Batch) -> Tensor:
        with accelerator.autocast():
            predicted = model(batch.noisy, batch.timesteps, rows(given, batch.prompts))
        return dreambooth_loss(predicted, batch.target, batch.weights, batch.mask)

    def write(_: dict[str, Tensor], folder: Path, last: bool) -> None:
        unet.save_pretrained(folder / "unet")

    settings = origin.recipe.unet
    rates = {"unet": settings.learning_rate}
    return loop.Stage("unet", settings.steps, model, {"unet": unet}, rates, prepared.batches_at, loss, write)


if __name__ == "__main__":
    stage_main(lambda arguments: run_stage(arguments, "unet", build))
