"""What is wrong with a recipe's values, a sentence each; their types are checked before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsd.families import FAMILIES
from fsd.families.rules import resolution_faults, training_fault

if TYPE_CHECKING:
    from fsd.recipe import Recipe


def value_faults(recipe: Recipe) -> list[str]:
    found = []

    def need(good: bool, fault: str) -> None:
        if not good:
            found.append(fault)

    for name, stage in (("text_encoder", recipe.text_encoder), ("unet", recipe.unet), ("lora", recipe.lora)):
        need(0 <= stage.steps <= 1_000_000, f"{name}.steps is {stage.steps}, not 0 to 1000000")
        rate = stage.learning_rate
        need(0 < rate <= 1, f"{name}.learning_rate is {rate}, not above 0 and at most 1")
    need(1 <= recipe.batch_size <= 256, f"batch_size is {recipe.batch_size}, not 1 to 256")
    need(recipe.warmup_steps >= 0, f"warmup_steps is {recipe.warmup_steps}, below 0")
    need(recipe.weight_decay >= 0, f"weight_decay is {recipe.weight_decay}, below 0")
    need(recipe.max_grad_norm >= 0, f"max_grad_norm is {recipe.max_grad_norm}, below 0")
    need(
        1 <= recipe.gradient_accumulation <= 256,
        f"gradient_accumulation is {recipe.gradient_accumulation}, not 1 to 256",
    )
    need(0 <= recipe.multires_noise < 1, f"multires_noise is {recipe.multires_noise}, not 0 to below 1")
    need(recipe.min_snr_gamma >= 0, f"min_snr_gamma is {recipe.min_snr_gamma}, below 0")
    need(0 <= recipe.flow_shift <= 20, f"flow_shift is {recipe.flow_shift}, not 0 to 20")
    need(0 <= recipe.ema_decay < 1, f"ema_decay is {recipe.ema_decay}, not 0 to below 1")
    need(0 <= recipe.augment.copies <= 100, f"augment.copies is {recipe.augment.copies}, not 0 to 100")
    need(0 <= recipe.captions.dropout < 1, f"captions.dropout is {recipe.captions.dropout}, not 0 to below 1")
    need(0 <= recipe.captions.shuffles <= 100, f"captions.shuffles is {recipe.captions.shuffles}, not 0 to 100")
    need(recipe.captions.keep >= 0, f"captions.keep is {recipe.captions.keep}, below 0")
    lora = recipe.lora
    need(1 <= lora.rank <= 1024, f"lora.rank is {lora.rank}, not 1 to 1024")
    need(lora.alpha >= 0, f"lora.alpha is {lora.alpha}, below 0")
    need(0 <= lora.dropout < 1, f"lora.dropout is {lora.dropout}, not 0 to below 1")
    need(
        0 < lora.text_learning_rate <= 1,
        f"lora.text_learning_rate is {lora.text_learning_rate}, not above 0 and at most 1",
    )
    need(0 <= recipe.offset_noise <= 1, f"offset_noise is {recipe.offset_noise}, not 0 to 1")
    need(0 <= recipe.seed < 2**63, f"seed is {recipe.seed}, not 0 to 2^63-1")
    need(
        recipe.method != "lora" or recipe.compile != "on" or lora.quantize == "none",
        f"compile is 'on', and lora.quantize is {lora.quantize!r}: quantized weights cannot be compiled",
    )
    need(recipe.prior.images >= 0, f"prior.images is {recipe.prior.images}, below 0")
    need(recipe.prior.weight >= 0, f"prior.weight is {recipe.prior.weight}, below 0")
    need(recipe.save.every_steps >= 1, f"save.every_steps is {recipe.save.every_steps}, below 1")
    need(recipe.save.from_step >= 0, f"save.from_step is {recipe.save.from_step}, below 0")
    need(recipe.save.keep >= 2, f"save.keep is {recipe.save.keep}, below 2 (one to go on from and one in reserve)")
    need(recipe.samples.every_steps >= 0, f"samples.every_steps is {recipe.samples.every_steps}, below 0")
    need(0 <= recipe.mask.outside <= 1, f"mask.outside is {recipe.mask.outside}, not 0 to 1")
    check = recipe.validation
    need(check.every_steps >= 0, f"validation.every_steps is {check.every_steps}, below 0")
    need(1 <= check.draws <= 100, f"validation.draws is {check.draws}, not 1 to 100")
    need(bool(recipe.identifier.strip()), "identifier is empty")
    need(
        "{identifier}" in recipe.caption_template, f"caption_template {recipe.caption_template!r} has no {{identifier}}"
    )
    need(not recipe.prior.images or bool(recipe.class_word), "prior.images is set but class_word is empty")
    if recipe.family not in FAMILIES:
        return [*found, f"family is {recipe.family!r}, not one of {', '.join(FAMILIES)}"]
    family = FAMILIES[recipe.family]
    impossible = training_fault(family, recipe.method)
    need(not impossible, impossible)
    flow = family.prediction == "flow"
    need(flow or not recipe.flow_shift, f"flow_shift is set, but {family.title} predicts no flow")
    need(
        not recipe.zero_terminal_snr or family.prediction == "v_prediction",
        f"zero_terminal_snr is set, but {family.title} cannot learn from noise alone: it predicts no v",
    )
    return found + resolution_faults(family, recipe.resolution_px, recipe.force)
