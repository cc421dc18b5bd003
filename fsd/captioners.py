"""What the verbs that look at photos share: the captioner is found, fitted to this machine, and asked in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fsd.data.blip2 import CaptionRequest
from fsd.data.generation import read_generation
from fsd.data.session import Session
from fsd.data.wording import Wording
from fsd.errors import DownloadError, RecipeError, SessionError, WeightsError
from fsd.families.captioners import CAPTIONERS, MATCH, WRITE, captioner_record
from fsd.recipe import Recipe
from fsd.runtime import machine, report
from fsd.runtime.files import write_json
from fsd.runtime.process import LOADING, run_stage
from fsd.runtime.report import human_bytes
from fsd.runtime.spool.safe import bring, spool_of
from fsd.settings import one_of
from fsd.weights.captioner_folder import find_captioner, need_work
from fsd.weights.checkpoint import newest_checkpoint
from fsd.weights.sizes import parameters

_USABLE = 0.85
"""Of the memory, for weights: the rest is for what a batch of pictures takes."""
_WAYS = {"none": (4.0, 2.0), "int8": (1.2, 1.2), "nf4": (0.7, 0.7)}
"""Bytes a number on a CPU and on a GPU, with what stays unquantized."""


def captions_by_model(
    session: Session, captioner: str, wording: Wording, again: bool, quantize: str, generation: str
) -> tuple[str, dict[str, Any]]:
    """(what was done in words, {"written": names, "skipped": {name: reason}}): a captioner's captions for a session's photos.

    generation: NAME=VALUE pairs of transformers' GenerationConfig, or the file of one; kept in the session and used again.
    """
    place = session.folder / "captioner" / "generation_config.json"
    settings = read_generation(generation, place)
    one_of("quantize", quantize, "auto", *_WAYS)
    folder = found_for(captioner or session.recipe().captioner.model, WRITE)
    request = CaptionRequest(
        str(folder), _taught(session), wording, settings, again, _quantize(folder, quantize)
    )  # fmt: skip
    report.say(LOADING.format("captions"))
    try:
        made = run_stage("fsd.captioner.write", str(session.folder), request.to_json())
    finally:
        bring(spool_of(session.folder))
    if generation:
        write_json(place, settings)
    return f"{len(made['written'])} captions written{skips(made['skipped'])}", made


def planned(name: str, memory_bytes: int, device: str) -> tuple[str, dict[str, Any]]:
    """(in words, figures): the memory that a captioner needs on a device, from its real shapes. name: of `CAPTIONERS`."""
    record, usual = captioner_record(name), Recipe().captioner
    if record.shapes is None:
        known = [other.name for other in CAPTIONERS.values() if other.shapes is not None]
        raise RecipeError(f"the memory of {name} is not foreseen", f"known are: {', '.join(known)}")
    asked = {"captioner": name, "device": device, "rank": usual.rank, "batch_size": usual.batch_size}
    found = run_stage("fsd.captioner.plan", json.dumps(asked))
    totals = {way: sum(held.values()) for way, held in found["caption"].items()}
    usable = int(_USABLE * memory_bytes)
    fitting = next((way for way, total in totals.items() if total <= usable), "")
    rows = [[f"look at photos, {way}", human_bytes(totals[way]), human_bytes(held["a picture"])]
            for way, held in found["caption"].items()]  # fmt: skip
    if teaching := found["teach"]:
        rows.append([f"teach it, {usual.batch_size} photos a step", human_bytes(sum(teaching.values())), ""])
    lines = [record.title, report.table(rows, ["work", "memory", "each picture more of a batch"])]
    lines += [f"what is taught to it: a file of {human_bytes(found['adapter_bytes'])}"] if teaching else []
    lines.append(
        f"fits {human_bytes(memory_bytes)}: quantize {fitting}" if fitting
        else f"even nf4 needs {human_bytes(totals['nf4'])} of {human_bytes(memory_bytes)}: take blip, which is smaller"
    )  # fmt: skip
    return "\n".join(lines), {"fits": bool(fitting), "quantize": fitting, **found}


def looked(session: Session, process: str, work: str, captioner: str, quantize: str, **asked: Any) -> dict[str, Any]:
    """What a process of the captioner's room found."""
    one_of("quantize", quantize, "auto", *_WAYS)  # before anything is fetched
    folder = found_for(captioner, work)
    request = {"folder": str(folder), "quantize": _quantize(folder, quantize), "batch_size": 0, **asked}
    report.say(LOADING.format("photos"))
    return run_stage(f"fsd.captioner.{process}", str(session.folder), json.dumps(request))


def nearest_photos(session: Session, words: str) -> list[str]:
    """The photos that are nearest to words, the nearest first, by a model that is on this machine; nothing is fetched."""
    matcher = session.recipe().captioner.matcher
    try:
        find_captioner(matcher, offline=True)
    except (DownloadError, WeightsError):
        what = f"photos are searched by what is seen with {matcher}, which is not on this machine"
        raise SessionError(what, "run find_photos once, which fetches it") from None
    near: dict[str, float] = looked(session, "match", MATCH, matcher, "auto", words=words)["near"]
    return sorted(near, key=lambda name: -near[name])


def found_for(captioner: str, work: str) -> Path:
    folder = find_captioner(captioner)
    need_work(folder, work)
    return folder


def _taught(session: Session) -> str:
    """The newest checkpoint that holds what was taught to the session's captioner; "" where nothing was."""
    newest = newest_checkpoint(session.checkpoints, "captioner", report.say)
    return str(newest.folder) if newest else ""


def _quantize(folder: Path, wanted: str) -> str:
    """ "none", "int8" or "nf4": what was asked for, else the first with which the weights fit."""
    if wanted != "auto":
        return one_of("quantize", wanted, *_WAYS)
    gpu = machine.gpu_facts()
    room_bytes = gpu.memory_bytes if gpu else machine.survey()["memory_bytes"]
    numbers = parameters(folder)
    fitting = [way for way, bytes_each in _WAYS.items() if numbers * bytes_each[bool(gpu)] <= _USABLE * room_bytes]
    return fitting[0] if fitting else "nf4"


def skips(skipped: dict[str, str]) -> str:
    return "".join(f"\nskipped {name}: {why}" for name, why in skipped.items())
