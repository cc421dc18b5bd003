"""A question about every photo of a session: `python -m fsd.captioner.ask SESSION_FOLDER REQUEST`.

REQUEST as JSON: folder (the captioner's), question, quantize, batch_size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fsd.captioner.batching import ahead, in_batches
from fsd.captioner.opening import open_captioner
from fsd.captioner.speaking import answer, generation_config
from fsd.data.blip2 import Looking
from fsd.data.concept import photos_of
from fsd.data.session import open_session_folder
from fsd.families.captioners import ASK
from fsd.runtime import report
from fsd.runtime.child import stage_main

_GENERATION = {"num_beams": 5, "max_new_tokens": 16}


def main(arguments: list[str]) -> dict[str, Any]:
    """Ask; return {"answers": {photo: answer}, "skipped": {photo: reason}}."""
    session, asked = open_session_folder(Path(arguments[0])), json.loads(arguments[1])
    captioner = open_captioner(Path(asked["folder"]), ASK, quantize=asked["quantize"])
    generation, looking, answers = generation_config(_GENERATION), Looking(session), {}
    photos = photos_of(session.instance_images)
    with report.progress("answers", len(photos), unit=" photos") as bar:
        seen = looking.seen(ahead(photos, looking.at))

        def work(batch: list[tuple[Path, Any]]) -> list[str]:
            return answer(captioner, [picture for _, picture in batch], asked["question"], generation)

        for (path, _), said in in_batches(seen, work, asked["batch_size"]):
            answers[path.name] = said
            bar.update()
        bar.update(len(looking.skipped))
    return {"answers": answers, "skipped": looking.skipped}


if __name__ == "__main__":
    stage_main(main)
