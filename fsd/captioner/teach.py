"""A captioner learns the words of a session's captions: `python -m fsd.captioner.teach SESSION_FOLDER REQUEST`.

The Q-Former, its queries and its way into the language model learn; the vision encoder and the language model are frozen,
but for a LoRA on the latter, if wanted. The loop, its state and its exactness are those of all training. REQUEST as
JSON: folder, the captioner's; fork.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fsd.captioner.lessons import STAGE, Batch, Lessons, lessons_of
from fsd.captioner.opening import Captioner, open_captioner
from fsd.captioner.taught import ADAPTER, captioner_key, learning_parts, load_adapter, write_adapter
from fsd.data.blip2 import Looking, captioned, corrected
from fsd.data.session import Session, open_session_folder
from fsd.errors import RecipeError, SessionError
from fsd.families.captioners import TEACH
from fsd.recipe import Recipe
from fsd.runtime import files, report
from fsd.runtime.child import stage_main
from fsd.runtime.space import need_room
from fsd.runtime.spool.local_first import working
from fsd.runtime.spool.spool import Spool
from fsd.train import loop
from fsd.train.choices import machine
from fsd.train.device import choose_precision, make_accelerator
from fsd.train.identity import check_same_run
from fsd.train.optimizer import choose_optimizer
from fsd.train.prepare import bringing, session_metrics
from fsd.train.together import prepared, writer
from fsd.weights.checkpoint import Checkpoint, newest_checkpoint
from fsd.weights.sizes import checkpoint_bytes, checkpoint_needs

_IGNORED = -100


def main(arguments: list[str]) -> dict[str, Any]:
    """Teach; return the loop's figures with before, after, photos, adapter (the file), adapter_bytes and skipped.

    before, after: the loss on the captions that were kept from learning (apart), else on all, of the captioner as it came
    and as it is now.
    """
    session, asked = open_session_folder(Path(arguments[0])), json.loads(arguments[1])
    with writer(session) as spool:
        recipe = _recipe(session)
        pairs, looking, folder = corrected(session, captioned(session)), Looking(session), Path(asked["folder"])
        if not pairs:
            told = f"no photo of session {session.name!r} has a caption to learn from"
            raise SessionError(told, "write and correct captions first")
        key = captioner_key(folder)
        facts = _facts(looking, recipe, key, pairs)
        start = _start(session, recipe, facts, asked["fork"])
        accelerator = make_accelerator(recipe)
        captioner = open_captioner(folder, TEACH, choose_precision(recipe.precision))
        lessons = lessons_of(captioner, recipe, looking, pairs, key)
        if not lessons.ids:
            raise SessionError("no photo that has a caption could be opened", "add the photos again")
        captioner.model.vision_model = None  # all is seen
        stage = build(captioner, lessons, facts, accelerator)
        checks = lessons.checks()
        before = loop.validation_loss(stage, checks)
        if start:
            load_adapter(stage.trained, start.folder / ADAPTER)
            report.say(f"going on from {start.name}")
        figures = _train(stage, session, recipe, accelerator, checks, facts, start, spool)
        after = loop.validation_loss(stage, checks)
        last = newest_checkpoint(session.checkpoints, STAGE, report.say)
        assert last
        adapter = last.folder / ADAPTER
        learned = {"before": before, "after": after, "apart": lessons.apart, "photos": len(lessons.ids)}
        file = {"adapter": str(adapter), "adapter_bytes": adapter.stat().st_size}
        return {**figures, **learned, **file, "skipped": looking.skipped}


def build(captioner: Captioner, lessons: Lessons, facts: dict[str, Any], accelerator: Any) -> loop.Stage:
    """The stage: what learns in float32, the language model frozen in the precision that it was opened in."""
    model, recipe = captioner.model, lessons.recipe
    parts = learning_parts(captioner, recipe.captioner.rank, recipe.seed)
    for part in parts.values():
        part.train()
    empty = captioner.tokens([""])[0]
    network = prepared(parts, lambda batch: caption_loss(model, batch, empty), accelerator)

    def loss(batch: Batch) -> Tensor:
        torch.manual_seed(batch.seed)  # for the dropout
        with accelerator.autocast():
            found: Tensor = network(batch)
        return found

    def write(weights: dict[str, Tensor], folder: Path, last: bool) -> None:
        noted = {"base model": facts["run"]["base model"], "rank": recipe.captioner.rank}
        write_adapter(weights, folder, noted, half=last)

    rates = dict.fromkeys(parts, recipe.captioner.learning_rate)
    steps = recipe.captioner.steps
    return loop.Stage(STAGE, steps, network, parts, rates, lambda step: lessons.at(step, captioner.device), loss, write)


def caption_loss(model: Any, batch: Batch, empty: Tensor | None = None) -> Tensor:
    """The mean cross-entropy of the captions' tokens, each after all before it and the picture (Li et al. 2023, 3.3).

    empty: (1, T) the tokens of no text, which an encoder reads after the picture.
    """
    batch = batch.on(model.query_tokens.device)
    queries = model.query_tokens.expand(len(batch.seen), -1, -1)
    states = model.qformer(query_embeds=queries, encoder_hidden_states=batch.seen).last_hidden_state
    given = model.language_projection(states)
    dtype = model.get_input_embeddings().weight.dtype
    labels = batch.ids if batch.mask is None else batch.ids.masked_fill(batch.mask == 0, _IGNORED)
    if not model.config.use_decoder_only_language_model:
        nothing = model.get_input_embeddings()(empty).expand(len(given), -1, -1)
        inputs = torch.cat([given.to(dtype), nothing], dim=1)
        logits = model.language_model(inputs_embeds=inputs, labels=labels).logits
        return _mean_loss(logits, labels)
    words = model.get_input_embeddings()(batch.ids)
    mask = None if batch.mask is None else torch.cat([batch.mask.new_ones(given.shape[:2]), batch.mask], dim=1)
    logits = model.language_model(inputs_embeds=torch.cat([given.to(dtype), words], dim=1), attention_mask=mask).logits
    return _mean_loss(logits[:, given.shape[1] : -1], labels[:, 1:])


def _mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=_IGNORED)


def _recipe(session: Session) -> Recipe:
    """The session's recipe, of which the loop reads how to step and save; what is of models alone is off."""
    recipe = session.recipe().checked()
    optimizer = choose_optimizer(recipe.optimizer, torch.cuda.is_available())
    return recipe.changed(
        optimizer=optimizer, compile="off", ema_decay=0.0, samples__every_steps=0, samples__at_end=False
    )  # fmt: skip


def _start(session: Session, recipe: Recipe, facts: dict[str, Any], fork: bool) -> Checkpoint | None:
    """The checkpoint to go on from; RecipeError when it is of other captions or settings, unless asked to fork."""
    start = newest_checkpoint(session.checkpoints, STAGE, report.say)
    if start is None:
        return None
    on = f"to learn on from there: steps={start.step + Recipe().captioner.steps} and fork"
    try:
        check_same_run(start, facts, fork)
    except RecipeError as fault:
        raise RecipeError(fault.message, f"{on}; or {fault.hint}") from None
    if "forked_from" in facts and start.step >= recipe.captioner.steps:
        raise RecipeError(f"{start.name} has done all {recipe.captioner.steps} steps already", on)
    return start


def _facts(looking: Looking, recipe: Recipe, key: str, pairs: list[tuple[Path, str]]) -> dict[str, Any]:
    """What the result depends on, and where it is made. key: the captioner's."""
    settings = {f"captioner.{name}": value for name, value in vars(recipe.captioner).items() if name != "model"}
    settings |= {
        name: recipe.value(name) for name in ("schedule", "warmup_steps", "weight_decay", "max_grad_norm", "seed")
    }
    settings["precision"] = choose_precision(recipe.precision)
    seen = _digest([*_photo_keys(looking, pairs), *(text for _, text in pairs)])
    run = settings | {"photos and captions": seen, "base model": key}
    return {"run": run, "machine": machine(), "chosen": {"optimizer": recipe.optimizer}}


def _photo_keys(looking: Looking, pairs: list[tuple[Path, str]]) -> list[str]:
    return [f"{path.name} {files.sha256(path)} {looking.box(path)}" for path, _ in pairs]


def _digest(texts: list[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def _train(
    stage: loop.Stage, session: Session, recipe: Recipe, accelerator: Any, checks: list[Batch], facts: dict[str, Any],
    start: Any, spool: Spool | None,
) -> dict[str, Any]:  # fmt: skip
    if start and start.step >= stage.steps:
        report.say(f"captioner: all {stage.steps} steps are done already")
        return {"stage": STAGE, "steps": stage.steps, "from_step": stage.steps, "loss": None, "seconds": {}}
    numbers = sum(weight.numel() for weight in stage.weights().values())
    one_bytes = checkpoint_bytes(numbers, recipe.optimizer)
    if spool:
        need_room(checkpoint_needs(session.checkpoints, STAGE, one_bytes, recipe.save.keep))
        files.make_folder(session.logs)
    metrics = session_metrics(session, recipe, spool)
    place = working(session.checkpoints)
    saved = bringing(session, recipe, spool, metrics)
    run = loop.Run(recipe, accelerator, place, metrics, facts, checks, saved, lambda _: None)
    return loop.train(stage, run, start)


if __name__ == "__main__":
    stage_main(main)
