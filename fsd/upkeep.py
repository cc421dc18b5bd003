"""Verbs beside the line of work: settings, crops by hand, plots, and what can be done with whole sessions."""

from __future__ import annotations

import json
from typing import Any

from fsd.data import session as sessions
from fsd.data.concept import photos_of
from fsd.data.describe import in_lines
from fsd.data.lock import writing
from fsd.data.session import Session
from fsd.errors import MachineError, RecipeError
from fsd.give_back import give_back
from fsd.needs import need_photos, need_training, root_folder
from fsd.runtime import drive, files, live, report
from fsd.runtime.report import Result
from fsd.runtime.spool import safe
from fsd.settings import one_of
from fsd.stage import take_turn
from fsd.weights import removable

_STUDIO = "fsd webui launch --ui studio"


def change_settings(session: Session, *settings: str) -> Result:
    """Change settings of the session's recipe, or show them all.

    settings: NAME=VALUE pairs, such as unet.steps=800 or prior.images=64; none shows what is set.
    """
    recipe = session.recipe()
    for pair in settings:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RecipeError(f"{pair!r} names no value", "write NAME=VALUE, such as prior.images=0")
        recipe = recipe.changed(**{name: _plain(value)})
    if settings:
        session.save_recipe(recipe)
    return Result(json.dumps(recipe.to_json(), indent=2), **recipe.to_json())


def crop_photo(session: Session, photo: str, left: int, top: int, side: int) -> Result:
    """Set a photo's square by hand, in pixels of the upright photo at its full size.

    photo: the photo's file name in the session.
    left, top: the square's corner, from the photo's left and top edge.
    side: how wide and high the square is.
    """
    from fsd.data.contact_sheet import contact_sheet
    from fsd.data.crop import set_box

    set_box(session, photo, left, top, side)
    sheet = contact_sheet(session)
    return Result(f"{photo}: {side} px square at {left}, {top}", picture=sheet, contact_sheet=str(sheet))


def edit_captions(session: Session) -> Result:
    """Edit captions beside their photos: find and replace, tags, prefix, undo; set photos aside, turn and crop them.

    In a notebook's cell; elsewhere this says where else. Every change is saved as you go on, and can be undone.
    """
    from fsd.data.aside import photos_aside
    from fsd.webui.captions.opening import open_editor

    if not (photos_of(session.instance_images) or photos_aside(session)):
        need_photos(session)
    if not live.in_notebook():
        return Result(f"captions are edited in a notebook, or in a browser: {_STUDIO}, tab Captions")
    try:
        from fsd.webui.captions.notebook import show_editor
    except ModuleNotFoundError as missing:
        hint = f"install it where the notebook runs: pip install {missing.name}; or use {_STUDIO}, tab Captions"
        raise MachineError(f"the package {missing.name} is not installed", hint) from None
    show_editor(open_editor(session))
    return Result("")


def plot_loss(session: Session) -> Result:
    """Draw the loss and the learning rate of each stage so far."""
    from fsd.train.metrics import draw_loss

    need_training(session)
    path = draw_loss(session.logs / "metrics.jsonl", session.logs / "loss.png")
    return Result(str(path), picture=path, plot=str(path))


def show_session(session: Session) -> Result:
    """Show a session: its photos, steps, files and sizes, and the next thing to do."""
    found = sessions.describe(session)
    return Result(in_lines(found), **found)


def list_sessions(root: str = "") -> Result:
    """List the sessions of a folder.

    root: as for open-session.
    """
    folder = root_folder(root)
    sessions.check_root(folder, to_read=True)
    found = [sessions.describe(session) for session in sessions.list_sessions(folder)]
    rows = [[row["name"], row["state"], str(row["photos"]), row["next"]] for row in found]
    none = f"there is no session in {sessions.sessions_folder(folder)} yet"
    return Result(report.table(rows, ["session", "state", "photos", "next"]) if rows else none, sessions=found)


def remove_session(session: Session) -> Result:
    """Move a session to the bin, Fast-Dreambooth/bin."""
    from fsd.data.archive import remove_session as remove

    path = remove(session)
    return Result(
        f"moved to {path}; delete that folder to free {report.human_bytes(files.size_bytes(path))}", bin=str(path)
    )


def sync(session: Session, wait: bool = False, ask_google: bool = False, disconnect: bool = False) -> Result:
    """Bring to Drive what is still only on this machine's disk, and show how safe everything is.

    wait: until everything has the highest state there is.
    ask_google: have Google confirm each file; asks you for access to Drive's list of files.
    disconnect: then give the machine back to Colab.
    """
    if disconnect:
        give_back(session, ask_google)
    else:
        take_turn(session)
        (safe.wait if wait else safe.bring)(safe.spool_of(session.folder, ask_google))
    spool = safe.spool_of(session.folder, ask_google)
    return Result(safe.as_text(spool), highest=spool.highest, items={item.name: item.state for item in spool.items()})


def clean_session(session: Session, *what: str) -> Result:
    """List what can go from a session, by size, or free it.

    What is deleted from Drive goes into its bin, and counts until that is emptied.
    what: cache, leftovers, checkpoints, optimizer, local, unconfirmed, aside, photos_aside, originals, bin; or all: the
    first five. None lists.
    """
    named = [one_of("what", name, "all", *removable.KINDS) for name in what if name]
    kinds = {kind for name in named for kind in (removable.SURE if name == "all" else [name])}
    with writing(session):
        rows = removable.removable(session.folder, report.say)
        freed = removable.free(rows, kinds)
    left = [row for row in rows if row.kind not in kinds]
    text = removable.as_table(left) if left else "nothing can go"
    if kinds:
        bins = "; empty Drive's bin too, it counts" if drive.on_drive(session.folder) else ""
        text = f"{report.human_bytes(freed)} freed{bins}" if freed else "nothing to free"
    return Result(text, freed_bytes=freed, removable=[row.to_json() for row in left])


def doctor(offline: bool = False) -> Result:
    """One page about this machine for a bug report: what would work, the next steps, packages, disk, Drive, sources.

    Exit codes: 0 training and the web UI would work, 1 neither, 3 training alone, 4 the web UI alone.
    offline: do not ask the download sources whether they are there.
    """
    from fsd.runtime.doctor.examine import examine
    from fsd.webui.places import places

    return examine(places(), offline)


def _plain(value: str) -> Any:
    """A setting typed on the command line: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value
