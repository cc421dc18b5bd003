"""Photos come into a session: copied as they are, checked by decoding, each refusal listed with its reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsd.data.adding import Adding, AddReport
from fsd.data.box import Box
from fsd.data.concept import folder_for, photos_of
from fsd.data.decode import MAX_SIDE_PX, open_photo, square
from fsd.data.folder import Session
from fsd.data.lock import writing
from fsd.data.sources import Source, opened
from fsd.errors import MachineError, SessionError
from fsd.runtime.files import clear_temporary, temporary_beside

__all__ = ["MAX_SIDE_PX", "AddReport", "Box", "add_photos", "open_photo", "square"]


def add_photos(session: Session, source: Source, hold_out: int = 0, concept: str = "") -> AddReport:
    """Copy photos (and the `.txt` beside them as captions) into the session; all of them or, on an error, none.

    source: a folder, a file, files, a zip, or an upload {name: bytes}. hold_out: how many photos in all are to be kept
    from training, in held_out_images/, for the score. concept: the folder that they go into, such as "10_zwx cat"; without,
    folders of such names in the source are kept. What is no photo, or is there already, is a listed skip.
    """
    if type(hold_out) is not int or hold_out < 0:
        raise SessionError(f"hold_out is {hold_out!r}, not a number of photos", "give 0 or more")
    folder = folder_for(session, concept) if concept else ""
    with writing(session):
        clear_temporary(session.folder)
        with opened(source) as entries, _staging(session) as stage:
            adding = Adding(session, stage, folder)
            adding.take_all(entries)
            adding.place(_to_hold_out(session, adding, hold_out))
    return adding.report


def _to_hold_out(session: Session, adding: Adding, wanted: int) -> list[str]:
    """The names, spread evenly over the sorted ones, that are to join held_out_images/ until it holds `wanted`.

    Once anything is trained only photos that were just added can be held out: training has seen the others.
    """
    report, places = adding.report, adding.places
    held = len(photos_of(session.held_out_images))
    before = [path.name for path in photos_of(session.instance_images)]
    count = len(before) + len(report.added)
    if wanted and wanted >= held + count:
        fault = f"hold_out is {wanted}, but there are only {held + count} photos"
        raise SessionError(fault, "hold out fewer, or add more photos: at least one must be left to train on")
    if 0 < wanted < held:
        report.warnings.append(f"hold_out is {wanted}, but {held} photos are held out already; they stay so")
    missing = max(0, wanted - held)
    seen = before if _is_trained(session) else []
    names = sorted({*before, *report.added} - {*seen}, key=places.__getitem__)
    if missing > len(names):
        fault = f"hold_out is {wanted}, {held} are held out, and training has seen all other photos but {len(names)}"
        raise SessionError(fault, f"add at least {missing - len(names)} photos more, or start a new session")
    chosen = [names[int((index + 0.5) * len(names) / missing)] for index in range(missing)]
    left = {places[name].parent for name in {*before, *report.added} - {*chosen}}
    if lost := sorted({places[name].parent.name for name in chosen if places[name].parent not in left}):
        fault = f"hold_out is {wanted}, which would leave no photo of {lost[0]!r} to train on"
        raise SessionError(fault, "hold out fewer, or add more photos of it")
    return chosen


def _is_trained(session: Session) -> bool:
    return any(session.checkpoints.glob("*/checkpoint.json")) or bool(session.ckpt_files())


@contextmanager
def _staging(session: Session) -> Iterator[Path]:
    """A temporary folder in the session, gone afterwards whatever happens."""
    stage = temporary_beside(session.folder / "photos")
    stage.mkdir()
    try:
        yield stage
    except OSError as error:
        fault = f"the photos cannot be written to {session.folder}: {error.strerror or error}"
        raise MachineError(fault, "free some space there, then run this again") from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
