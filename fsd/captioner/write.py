"""Captions for a session's photos, in a process of its own: `python -m fsd.captioner.write SESSION_FOLDER REQUEST`.

REQUEST: what `CaptionRequest` holds, as JSON. Each batch's captions are in the session before the next one is looked at.
Words that are drawn (do_sample) depend on the recipe's seed and the photo's name alone: then photos are looked at one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fsd.captioner.batching import ahead, in_batches
from fsd.captioner.opening import open_captioner
from fsd.captioner.speaking import generation_config, say
from fsd.captioner.taught import take_adapter
from fsd.data.blip2 import BY, CaptionRequest, Looking, Run
from fsd.data.caption_history import change_captions
from fsd.data.lock import writing
from fsd.data.session import open_session_folder
from fsd.families.captioners import WRITE
from fsd.runtime import report
from fsd.runtime.child import stage_main
from fsd.train.randomness import generator


def main(arguments: list[str]) -> dict[str, Any]:
    """Write the captions; return {"written": names, "skipped": {name: reason}}."""
    session, request = open_session_folder(Path(arguments[0])), CaptionRequest.from_json(arguments[1])
    generation = generation_config(request.generation)
    with writing(session):
        run = Run(session, request)
        captioner = open_captioner(Path(request.folder), WRITE, quantize=request.quantize)
        if request.taught:
            take_adapter(captioner, Path(request.taught), Path(request.folder))
        looking, seed = Looking(session), session.recipe().seed
        filled = session.recipe().prompt(request.wording.prefix) if request.wording.prefix else ""
        with report.progress("captions", run.before + len(run.todo), run.before, unit=" photos") as bar:
            seen = looking.seen(ahead(run.todo, looking.at))

            def work(batch: list[tuple[Path, Any]]) -> list[str]:
                if generation.do_sample:
                    torch.manual_seed(generator(seed, BY, batch[0][0].name).initial_seed())
                said = say(captioner, [picture for _, picture in batch], "", generation)
                words = [
                    (path, request.wording.of(text, filled))
                    for (path, _), text in zip(batch, said, strict=True)
                    if text
                ]
                change_captions(session, words, BY)
                names = [path.name for path, _ in batch]
                silent = set(names) - {path.name for path, _ in words}
                looking.skipped |= dict.fromkeys(sorted(silent), "the captioner said nothing of it")
                run.did(names)
                bar.update(len(batch))
                return names

            done = [name for _, name in in_batches(seen, work, 1 if generation.do_sample else request.batch_size)]
            bar.update(run.before + len(run.todo) - bar.n)
        run.end()
    written = [name for name in done if name not in looking.skipped]
    return {"written": written, "skipped": looking.skipped}


if __name__ == "__main__":
    stage_main(main)
