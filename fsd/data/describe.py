"""What a session holds and what to do with it next, as plain JSON values."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from fsd.data.concept import concept_named, photos_of
from fsd.data.folder import Session, new_manifest
from fsd.data.lock import need_folder
from fsd.data.names import photo_files
from fsd.data.prompt import caption_file
from fsd.errors import FsdError
from fsd.recipe import STAGES, Recipe
from fsd.runtime.files import size_bytes
from fsd.runtime.lock_record import holder
from fsd.runtime.report import human_bytes
from fsd.runtime.spool.turn import places


def describe(session: Session) -> dict[str, Any]:
    """Counts, sizes in bytes, steps and checkpoints a stage, the state in words and the verb to run next.

    A session whose record or recipe cannot be read is described too: its state says why, `next` what to do about it.
    """
    need_folder(session.folder)
    try:
        manifest, recipe, broken = session.manifest(), session.recipe(), None
        photos, held_out = photos_of(session.instance_images), photos_of(session.held_out_images)
    except FsdError as error:
        manifest, recipe, broken = new_manifest(session.name, original=False), Recipe(), error
        photos, held_out = photo_files(session.instance_images), photo_files(session.held_out_images)
    checkpoints = {stage: _checkpoints(session, stage) for stage in STAGES}
    facts = {
        "name": session.name,
        "folder": str(session.folder),
        "original_suite": manifest["original"],
        "created": manifest["created"],
        "family": recipe.family,
        "base_model": recipe.base_model,
        "photos": len(photos),
        "held_out": len(held_out),
        "concepts": _concepts(session, photos),
        "captions": sum(caption_file(session, path) is not None for path in photos),
        "class_images": len(photo_files(session.class_images)) + len(photo_files(session.concept_images)),
        "steps_done": {stage: max((c["step"] for c in checkpoints[stage]), default=0) for stage in recipe.stages},
        "steps_planned": {stage: getattr(recipe, stage).steps for stage in recipe.stages},
        "checkpoints": checkpoints,
        "ckpt": [path.name for path in session.ckpt_files()],
        "loras": [path.name for path in session.lora_files()],
        "bytes": folder_bytes(session),
        "writer": holder(session.folder),
    }
    if broken:
        return facts | {"state": f"cannot be opened: {broken.message}", "next": broken.hint}
    state, following = _state(session, recipe, facts, manifest["prompts"])
    return facts | {"state": state, "next": following}


def in_lines(facts: dict[str, Any]) -> str:
    """A description for people, a line for each thing that is there, the next thing to do last."""
    lines = [f"session {facts['name']}: {facts['folder']}"]
    counts = {"photos": "photos", "held_out": "held out", "captions": "with captions", "class_images": "class images"}
    lines += [f"{words}: {facts[name]}" for name, words in counts.items() if facts[name] or name == "photos"]
    for concept in facts["concepts"]:
        words = f"{concept['identifier']} {concept['class_word']}".strip()
        lines.append(f"{concept['folder']}: {concept['photos']} photos of {words}, {concept['repeats']} times an epoch")
    lines += [f"base model: {facts['base_model']} ({facts['family']})"] if facts["base_model"] else []
    for stage, steps in facts["steps_planned"].items():
        lines.append(f"{STAGES[stage]}: {facts['steps_done'][stage]} of {steps} steps")
    lines += [f"CKPT: {', '.join(facts['ckpt'])}"] if facts["ckpt"] else []
    lines += [f"LoRA: {', '.join(facts['loras'])}"] if facts["loras"] else []
    writer = facts["writer"]
    lines += [f"being written by process {writer.get('pid')} on {writer.get('host')}"] if writer else []
    lines.append(f"on the disk: {human_bytes(facts['bytes']['total'])}")
    return "\n".join([*lines, f"state: {facts['state']}", f"next: {facts['next']}"])


def folder_bytes(session: Session) -> dict[str, int]:
    """The bytes in each folder of the session, of the files beside them, and in all."""
    inside = sorted(session.folder.iterdir())
    sizes = {path.name: size_bytes(path) for path in inside if path.is_dir() and not path.is_symlink()}
    files = sum(size_bytes(path) for path in inside if path.name not in sizes)
    return sizes | {"files": files, "total": sum(sizes.values()) + files}


def _concepts(session: Session, photos: list[Path]) -> list[dict[str, Any]]:
    """Each concept by its folder's name, with what it is called and its number of photos."""
    counts = Counter(path.parent.name for path in photos if path.parent != session.instance_images)
    return [{"folder": name, **vars(concept_named(name)), "photos": count} for name, count in sorted(counts.items())]


def _checkpoints(session: Session, stage: str) -> list[dict[str, Any]]:
    """The stage's checkpoints by step: {folder, step, done}; one whose checkpoint.json cannot be read is left out."""
    found = []
    there = {path.name: path for place in places(session.folder, "checkpoints") for path in place.glob(f"{stage}-*")}
    for folder in there.values():
        record = _record(folder) if re.fullmatch(rf"{stage}-\d{{6,}}", folder.name) else None
        if record and record.get("stage") == stage and type(record.get("step")) is int:
            found.append({"folder": folder.name, "step": record["step"], "done": record.get("done") is True})
    return sorted(found, key=lambda checkpoint: checkpoint["step"])


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _state(session: Session, recipe: Recipe, facts: dict[str, Any], prompts: str) -> tuple[str, str]:
    """(state in words, next verb): the first thing in the pipeline's order that is not done yet."""
    reached = facts["steps_done"]
    done = {stage: _is_done(facts["checkpoints"][stage], getattr(recipe, stage).steps) for stage in recipe.stages}
    if facts["ckpt"] and not any(facts["checkpoints"].values()):
        return "CKPT saved", "generate" if facts["base_model"] else "choose-base-model"
    if not facts["photos"]:
        return "empty", "add-photos"
    if not facts["base_model"] and not any(reached.values()):
        return "photos added", "choose-base-model"
    shown = prompts == "file name" or (session.logs / "prompts.txt").is_file()
    if not any(reached.values()) and not shown and facts["captions"] < facts["photos"]:
        return "photos added", "caption-photos"
    for stage in recipe.stages:
        if not done[stage]:
            before = "text encoder trained" if stage == "unet" and recipe.text_encoder.steps else "ready to train"
            state = f"{STAGES[stage]} at step {reached[stage]}" if reached[stage] else before
            return state, f"train-{stage.replace('_', '-')}"
    what, files = ("LoRA", session.lora_files()) if recipe.method == "lora" else ("CKPT", session.ckpt_files())
    if _is_stale(session, files):
        return "trained", f"save-{what.lower()}"
    return f"{what} saved", "generate"


def _is_done(checkpoints: list[dict[str, Any]], steps: int) -> bool:
    return steps == 0 or any(c["done"] and c["step"] >= steps for c in checkpoints)


def _is_stale(session: Session, files: list[Path]) -> bool:
    """Whether a checkpoint is younger than every one of the files that were made of them, or there is none."""
    trained = [path.stat().st_mtime for path in session.checkpoints.glob("*-*/checkpoint.json")]
    saved = [path.stat().st_mtime for path in files]
    return not saved or max(trained, default=0.0) > max(saved, default=0.0)
