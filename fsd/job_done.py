"""What a job has done already: its stages' results, each with a digest of all that it was made from.

They are kept in logs/job.json of the session. A stage is left out only where everything is as it was (settings, photos and
captions, base model, checkpoints, order, fsd itself) and its files are whole; otherwise it runs and decides for itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fsd import __version__
from fsd.data.concept import photos_of
from fsd.data.lock import writing
from fsd.data.session import Session
from fsd.errors import FsdError
from fsd.job_orders import JobFile
from fsd.needs import base_folder
from fsd.runtime import files, report
from fsd.runtime.report import Result
from fsd.weights import checkpoint
from fsd.weights.base_folder import base_fingerprint

_RECORD = "job.json"


class Done:
    """The results of a session's jobs. In one run of a job what does not change meanwhile is read once."""

    def __init__(self, session: Session, job: JobFile) -> None:
        self._session, self._job = session, job
        self._path = session.logs / _RECORD
        self._recipe = session.recipe()
        self._inputs: list[str] = []

    def find(self) -> dict[str, Result]:
        """By stage, the results that the job would give again; every checkpoint and file is read and compared."""
        record = self._record()
        if record:
            report.say("looking whether what was done before is whole and still up to date")
        found = {stage: self._same(stage, record[stage]) for stage in self._job.stages if stage in record}
        return {stage: result for stage, result in found.items() if result}

    def _same(self, stage: str, kept: dict[str, Any]) -> Result | None:
        try:
            if kept["digest"] != self._digest(stage, verify=True) or not _are_whole(kept):
                return None
            return Result(kept["text"], Path(kept["picture"]) if kept["picture"] else None, **kept["figures"])
        except (FsdError, OSError, ValueError, KeyError, TypeError):
            return None  # the stage says what is wrong

    def _record(self) -> dict[str, Any]:
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def keep(self, stage: str, result: Result) -> None:
        """Remember what a stage has just given; where that cannot be written it is done again another time."""
        self._inputs = []  # class images may have come
        with suppress(OSError, ValueError, KeyError):
            self._keep(stage, result)

    def _keep(self, stage: str, result: Result) -> None:
        sizes = {path: Path(path).stat().st_size for path in _paths(dict(result)) if Path(path).is_file()}
        kept = {"digest": self._digest(stage, verify=False), "text": result.text, "files": sizes}
        kept |= {"picture": str(result.picture or ""), "figures": dict(result)}
        with writing(self._session):
            files.make_folder(self._path.parent)
            files.write_json(self._path, {**self._record(), stage: kept})

    def _digest(self, stage: str, verify: bool) -> str:
        orders: dict[str, Any] = {"save_ckpt": self._job.ckpt, "generate": self._job.pictures}
        order = asdict(orders[stage]) if stage in orders else {}
        facts = [__version__, stage, order, self._recipe.to_json(), *self._read_once(), *self._trained(stage, verify)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _read_once(self) -> list[str]:
        from fsd.data.dataset import inputs_fingerprint

        if not self._inputs:
            held_out = [files.sha256(path) for path in photos_of(self._session.held_out_images)]
            self._inputs = [inputs_fingerprint(self._session), base_fingerprint(base_folder(self._session)), *held_out]
        return self._inputs

    def _trained(self, stage: str, verify: bool) -> Iterator[Any]:
        """The weights that the stage makes or reads. verify: read them; else take their lists' word."""
        place = self._session.checkpoints
        stages = self._recipe.stages
        for one in stages[: stages.index(stage) + 1] if stage in stages else stages:
            there = checkpoint.list_checkpoints(place, one)
            if there and getattr(self._recipe, one).steps:
                newest = checkpoint.newest_checkpoint(place, one, report.say) if verify else None
                folder = newest.folder if newest else there[-1]
                yield [folder.name, checkpoint.is_done(place, one), checkpoint.weights_sha256(folder)]


def _paths(value: Any) -> Iterator[str]:
    """Every text in a result that may be a file's path."""
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _paths(inner)
    elif isinstance(value, str) and value.startswith("/"):
        yield value


def _are_whole(kept: dict[str, Any]) -> bool:
    """Whether a result's files are there with their sizes, its CKPT or LoRA with its SHA-256."""
    model, same = kept["figures"].get("ckpt") or kept["figures"].get("lora"), kept["files"].items()
    if any(Path(path).stat().st_size != size_bytes for path, size_bytes in same):
        return False
    return not model or files.sha256(Path(model)) == kept["figures"]["sha256"]
