"""What a training stage reads: every photo with its square and its exact prompt."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from fsd.data.box import Box, centre_box, rescaled
from fsd.data.concept import Concept, photos_of, recipes_of
from fsd.data.crop import Crop, crop_photos
from fsd.data.decode import open_photo, opened_size
from fsd.data.folder import Session
from fsd.data.mask import mask_file
from fsd.data.names import photo_files
from fsd.data.prompt import prompt_of, read_caption
from fsd.errors import SessionError
from fsd.runtime.files import sha256


@dataclass(frozen=True)
class TrainingPhoto:
    """One training example. box: (left, top, side) in pixels of `open_photo(path)`. prompt: for the tokenizer as is.

    mask: what the user drew of where the subject is, None without. concept: what it shows, None for what the recipe's own
    words say.
    """

    path: Path
    box: Box
    prompt: str
    mask: Path | None = None
    concept: Concept | None = None

    @property
    def repeats(self) -> int:
        """How often an epoch shows it."""
        return self.concept.repeats if self.concept else 1


def training_photos(session: Session) -> list[TrainingPhoto]:
    """The instance images by name, with boxes (found where missing) and prompts; SessionError if there are none."""
    photos = _photos(session, session.instance_images)
    if not photos:
        raise SessionError(f"session {session.name!r} has no photos", "add photos first")
    return photos


def held_out_photos(session: Session) -> list[TrainingPhoto]:
    """The photos kept from training, sorted by name; empty when none are."""
    return _photos(session, session.held_out_images)


def class_photos(session: Session) -> list[TrainingPhoto]:
    """The class images, sorted by name, with centred squares; also the original suite's concept_images/.

    The prompt is what a STEM.txt beside the image says, else the recipe's class prompt. SessionError where there are
    several classes and nothing says which it is of.
    """
    paths, recipe = photo_files(session.class_images) + photo_files(session.concept_images), session.recipe()
    said = {path: _class_prompt(path) for path in paths}
    silent = [path.name for path, prompt in said.items() if not prompt]
    subjects = recipes_of(session, recipe) if silent else [recipe]
    classes = sorted({one.class_word for one in subjects} - {""})
    if len(classes) > 1 and recipe.prior.images:
        fault = f"the class image {silent[0]} has no text that says which it shows: {', '.join(classes)}"
        raise SessionError(fault, f"write it into {Path(silent[0]).stem}.txt beside it: {subjects[0].class_prompt}")
    default = subjects[0].class_prompt
    return [TrainingPhoto(path, centre_box(open_photo(path).size), prompt or default) for path, prompt in said.items()]


def inputs_fingerprint(session: Session) -> str:
    """SHA-256, shortened to 16 hexadecimal digits, of everything in the session that training reads.

    That is photos, boxes and prompts, with as many class images as the recipe uses. Two runs with one fingerprint and
    one recipe train on the same things.
    """
    used = training_photos(session) + class_photos(session)[: session.recipe().prior.images]
    facts = [
        [
            photo.path.name,
            sha256(photo.path),
            list(photo.box),
            photo.prompt,
            *([sha256(photo.mask)] if photo.mask else []),
            *([[photo.concept.words, photo.repeats]] if photo.concept else []),
        ]
        for photo in used
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _photos(session: Session, folder: Path) -> list[TrainingPhoto]:
    paths = photos_of(folder)
    crops = crop_photos(session) if paths else {}
    recipe = session.recipe()
    masked = recipe.mask.of != "none"
    found = []
    for path in paths:
        prompt, mask = prompt_of(session, path, recipe), mask_file(session, path) if masked else None
        found.append(TrainingPhoto(path, _box(crops[path.name]), prompt.text, mask, prompt.concept))
    return found


def _box(crop: Crop) -> Box:
    return rescaled(crop.box, crop.size, opened_size(crop.size))


def _class_prompt(path: Path) -> str:
    beside = path.with_suffix(".txt")
    return read_caption(beside.read_bytes(), beside.name)[0] if beside.is_file() else ""
