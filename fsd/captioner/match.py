"""Photos and words beside each other: `python -m fsd.captioner.match SESSION_FOLDER REQUEST`.

REQUEST as JSON: folder (of a model that matches), quantize, batch_size, and one of captions (true: how well each caption
fits its photo), pictures ([[file, prompt]...]: how well each picture shows its prompt), words (a text: how near each
photo is to it) and alike (a cosine: which photos are nearer to each other).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsd.captioner.batching import ahead, in_batches
from fsd.captioner.matching import directions, embed_pictures, embed_texts, score_batch, similarity
from fsd.captioner.opening import Captioner, open_captioner
from fsd.data.blip2 import Looking, captioned, look_at
from fsd.data.concept import photos_of
from fsd.data.session import open_session_folder
from fsd.families.captioners import MATCH
from fsd.runtime import report
from fsd.runtime.child import stage_main
from fsd.train.cache import cached, weights_key

_AT_ONCE = 4096
"""Photos that are compared with all others at once."""


def main(arguments: list[str]) -> dict[str, Any]:
    """What was asked for, and what was skipped: {photo: reason}."""
    session, asked = open_session_folder(Path(arguments[0])), json.loads(arguments[1])
    captioner = open_captioner(Path(asked["folder"]), MATCH, quantize=asked["quantize"])
    looking, size = Looking(session), asked["batch_size"]
    if asked.get("captions"):
        texts = dict(captioned(session))
        return {"scores": _scores(captioner, looking, texts, size), "skipped": looking.skipped}
    if asked.get("pictures"):
        pairs = ((look_at(Path(path)), prompt) for path, prompt in asked["pictures"])
        made = in_batches(pairs, lambda batch: score_batch(captioner, batch), size)
        return {"scores": [asdict(one) for _, one in made], "skipped": {}}
    found = _embedded(captioner, looking, photos_of(session.instance_images), asked)
    if words := asked.get("words"):
        text = embed_texts(captioner, [words]).cpu()
        near = {name: float(similarity(vectors[None], text)) for name, vectors in found.items()}
        return {"near": near, "skipped": looking.skipped}
    return {"alike": _alike(found, asked["alike"]), "skipped": looking.skipped}


def _scores(captioner: Captioner, looking: Looking, texts: dict[Path, str], size: int) -> dict[str, Any]:
    with report.progress("scores", len(texts), unit=" photos") as bar:
        found = {}

        def work(batch: list[tuple[Path, Any]]) -> list[Any]:
            return score_batch(captioner, [(photo, texts[path]) for path, photo in batch])

        for (path, _), made in in_batches(looking.seen(ahead(texts, looking.at)), work, size):
            found[path.name] = {"caption": texts[path], **asdict(made)}
            bar.update()
    return found


def _embedded(captioner: Captioner, looking: Looking, photos: list[Path], asked: dict[str, Any]) -> dict[str, Tensor]:
    """(Q, D) float32 vectors on the CPU by photo, of those that could be opened; from the cache where they were made before."""

    def make() -> dict[str, Tensor]:
        found = {}
        with report.progress("photos", len(photos), unit=" photos") as bar:

            def work(batch: list[tuple[Path, Any]]) -> list[Tensor]:
                return list(embed_pictures(captioner, [photo for _, photo in batch]).cpu())

            for (path, _), vectors in in_batches(looking.seen(ahead(photos, looking.at)), work, asked["batch_size"]):
                found[path.name] = vectors
                bar.update()
        return found

    facts = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns} {looking.box(path)}" for path in photos]
    found = cached(looking.session.cache, "embeddings", [*weights_key(Path(asked["folder"])), *facts], make)
    for path in photos:
        if path.name not in found and path.name not in looking.skipped:
            looking.at(path)
    return found


def _alike(found: dict[str, Tensor], least: float) -> list[list[Any]]:
    """[[name, name, cosine]...] of the pairs whose photos are that near, the nearest first."""
    names, pairs = list(found), []
    all_of = directions(torch.stack(list(found.values()))) if found else torch.zeros(0, 1)
    for first in range(0, len(names), _AT_ONCE):
        rows = all_of[first : first + _AT_ONCE] @ all_of.T
        for row, column in (rows.triu(first + 1) >= least).nonzero().tolist():
            pairs.append([names[first + row], names[column], float(rows[row, column])])
    return sorted(pairs, key=lambda pair: -pair[2])


if __name__ == "__main__":
    stage_main(main)
