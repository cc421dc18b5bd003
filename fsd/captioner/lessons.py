"""What a captioner learns from: photos, seen once by its frozen eyes, and the captions that they have."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fsd.captioner.batching import ahead, in_batches
from fsd.captioner.opening import Captioner
from fsd.data.blip2 import Looking
from fsd.recipe import Recipe
from fsd.runtime import files, report
from fsd.runtime.space import Need, need_room
from fsd.train.randomness import generator, pick

STAGE = "captioner"
MOST_TOKENS = 75
_CHECKED_SHARE, _LEAST_TO_SPLIT = 10, 5
_SEEN = "seen"
_AT_ONCE = 8
"""Photos that are seen at once: always as many, so that a run that goes on sees the same bits."""


@dataclass(frozen=True)
class Batch:
    """seen: (B, P, H) what the frozen vision encoder makes of B photos. ids: (B, T) their captions' tokens.

    mask: (B, T), 0 where a shorter caption is filled up; None where all are as long. seed: of the step's dropout.
    """

    seen: Tensor
    ids: Tensor
    mask: Tensor | None
    seed: int

    def on(self, device: torch.device) -> Batch:
        """The same on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Batch(self.seen.to(device), self.ids.to(device), mask, self.seed)


@dataclass(frozen=True)
class Lessons:
    """Photos and their captions. seen: each photo's file of what the vision encoder makes of it. ids: its caption's tokens.

    learned, checked: places of those that are learned from, and of those on which it is measured what was learned.
    """

    recipe: Recipe
    seen: list[Path]
    ids: list[list[int]]
    learned: list[int]
    checked: list[int]
    pad: int

    @property
    def apart(self) -> bool:
        """Whether what is measured is kept from learning."""
        return not set(self.learned) & set(self.checked)

    def at(self, step: int, device: torch.device) -> list[Batch]:
        """The one batch of a step (from 0)."""
        size, seed = self.recipe.captioner.batch_size, self.recipe.seed
        rows = [self.learned[pick(len(self.learned), step * size + slot, seed, STAGE)] for slot in range(size)]
        return [self._batch(rows, generator(seed, STAGE, step, "batch").initial_seed(), device)]

    def checks(self) -> list[Batch]:
        """Batches of what is measured, always the same, in the CPU's memory."""
        size = self.recipe.captioner.batch_size
        rows = [self.checked[first : first + size] for first in range(0, len(self.checked), size)]
        return [self._batch(some, 0, torch.device("cpu")) for some in rows]

    def _batch(self, rows: list[int], seed: int, device: torch.device) -> Batch:
        longest = max(len(self.ids[row]) for row in rows)
        ids = torch.tensor([self.ids[row] + [self.pad] * (longest - len(self.ids[row])) for row in rows])
        lengths = torch.tensor([len(self.ids[row]) for row in rows])
        mask = (torch.arange(longest)[None] < lengths[:, None]).long().to(device)
        seen = torch.stack([load_file(self.seen[row])[_SEEN] for row in rows])
        return Batch(seen.float().to(device), ids.to(device), mask if bool((lengths < longest).any()) else None, seed)


def lessons_of(
    captioner: Captioner, recipe: Recipe, looking: Looking, pairs: Sequence[tuple[Path, str]], key: str
) -> Lessons:
    """The lessons in photos and their captions, of which every tenth, where there are five or more, is only measured.

    key: what tells the captioner from others.
    """
    found = see(captioner, looking, [path for path, _ in pairs], key)
    there = [(path, text) for path, text in pairs if path in found]
    end = int(captioner.model.config.text_config.eos_token_id)  # OPT's is a line's end here, not its tokenizer's
    ids = [_ids(captioner, text, end) for _, text in there]
    places = list(range(len(there)))
    order = torch.randperm(len(places), generator=generator(recipe.seed, STAGE, "checked")).tolist()
    checked = order[: max(1, len(places) // _CHECKED_SHARE)] if len(places) >= _LEAST_TO_SPLIT else places
    learned = sorted(set(places) - set(checked)) or places
    files_of = [found[path] for path, _ in there]
    return Lessons(recipe, files_of, ids, learned, sorted(checked), captioner.tokenizer.pad_token_id)


def see(captioner: Captioner, looking: Looking, photos: list[Path], key: str) -> dict[Path, Path]:
    """The file with (P, H) numbers, what the vision encoder makes of a photo, of each that can be opened; made once.

    Those of other photos and captioners go. MachineError when there is no room for them.
    """
    folder = looking.session.cache / "seen"
    places = {path: folder / f"{_name(looking, path, key, captioner.dtype)}.safetensors" for path in photos}
    for other in set(folder.glob("*.safetensors")) - set(places.values()):
        other.unlink()
    missing = [path for path, place in places.items() if not place.exists()]
    eyes = captioner.model.config.vision_config
    each = ((eyes.image_size // eyes.patch_size) ** 2 + 1) * eyes.hidden_size * captioner.dtype.itemsize
    need_room([Need("what the captioner sees", looking.session.cache, each * len(missing))])

    def work(batch: list[tuple[Path, Any]]) -> list[Tensor]:
        pixels = captioner.pixels([picture for _, picture in batch])
        with torch.no_grad():
            return list(captioner.model.vision_model(pixel_values=pixels).last_hidden_state.cpu())

    with report.progress("photos", len(missing), unit=" photos", quiet=not missing) as bar:
        for (path, _), made in in_batches(looking.seen(ahead(missing, looking.at)), work, _AT_ONCE):
            with files.replacing(places[path]) as temporary:
                try:
                    save_file({_SEEN: made.contiguous()}, temporary)
                except SafetensorError as fault:  # which is how safetensors tells of a full disk
                    raise OSError(errno.ENOSPC, str(fault), str(places[path])) from fault
            bar.update()
    return {path: place for path, place in places.items() if place.exists()}


def _name(looking: Looking, path: Path, key: str, dtype: torch.dtype) -> str:
    facts = f"{key} {dtype} {files.sha256(path)} {looking.box(path)}"
    return hashlib.sha256(facts.encode()).hexdigest()[:24]


def _ids(captioner: Captioner, text: str, end: int) -> list[int]:
    """A caption's tokens as the language model is to say them: those that begin a text, the words, the end."""
    ids = captioner.tokenizer(text, truncation=True, max_length=MOST_TOKENS)["input_ids"]
    return ids if ids[-1] == end and len(ids) > 1 else [*ids, end]
