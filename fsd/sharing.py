"""Verbs by which sessions and models go out and come in: zips, links, and a second home on the hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsd.data import archive
from fsd.data.incoming import free_folder, session_in
from fsd.data.session import Session, check_root
from fsd.errors import RecipeError, SessionError, WeightsError
from fsd.families.family import Source
from fsd.needs import base_folder, need_training, root_folder
from fsd.runtime import download, drive, drive_folder, files, report
from fsd.runtime.partial import link_key
from fsd.runtime.report import Result
from fsd.runtime.spool.local_first import working
from fsd.runtime.web import shown
from fsd.stage import save_lora_stage, save_stage
from fsd.upkeep import show_session
from fsd.weights import links
from fsd.weights.model import MARK, TrainedModel, trained_model
from fsd.weights.model_card import model_card
from fsd.weights.second_home import SecondHome, Sent
from fsd.weights.weight_file import read_weights


def export_session(session: Session, destination: str) -> Result:
    """Copy a session to a folder or, if the name ends in .zip, into one file.

    destination: a new folder or zip file.
    """
    path = archive.export_session(session, drive.place(destination))
    return Result(f"{path}: {report.human_bytes(files.size_bytes(path))}", path=str(path))


def import_session(source: str, name: str = "", root: str = "") -> Result:
    """Bring in a session from a folder, a zip or a link.

    source: what export-session wrote, or a session folder of the original suite; or a link to such a zip (Google Drive,
    the hub, any other) or, on Colab, to such a folder on Google Drive, for which Colab asks you for access.
    name: what to call it (default: as it was called).
    root: as for open-session.
    """
    home = root_folder(root)
    check_root(home)

    def need_free(found: str) -> None:  # a name that is taken is said before anything is downloaded
        if wanted := name or found:
            free_folder(home, wanted)

    need_free("")
    if not links.is_link(source):
        return show_session(archive.import_session(home, drive.place(source), name or None))
    with _brought(source, need_free) as path:
        return show_session(archive.import_session(home, path, name or None, shown(source)))


def publish(session: Session, repository: str) -> Result:
    """Send the trained model to a private repository of yours on the hub, its second home, and have the hub confirm it.

    Sent are the CKPT or LoRA of the newest step (written first if there is none), each samples/*/grid.png, and a README.md
    with base model, trigger words, licence, settings and samples. Your photos and captions never are. A public repository
    is refused; what is there already is not sent again. Needs the secret HF_TOKEN, with the right to write.
    repository: OWNER/NAME, such as me/my-dog, or the link of its page; made, private, if there is none.
    """
    need_training(session)
    home = SecondHome(repository)
    recipe = session.recipe()
    model = trained_model(base_folder(session), session.checkpoints, recipe, report.say)
    file = _file_of(session, model) or _written(session, model)
    samples = {f"samples/{path.parent.name}.png": path for path in sorted(session.samples.glob("*/grid.png"))}
    card = model_card(session.name, recipe, file.name, model.as_text(recipe), tuple(samples))
    sent = home.send({file.name: file, **samples, "README.md": card.encode()})
    return Result(_as_text(home.repository, sent), repository=home.repository, files=[one.to_json() for one in sent])


@contextmanager
def _brought(link: str, need_free: Callable[[str], None]) -> Iterator[Path]:
    """The folder or zip behind a link, here while inside. need_free: is told the session's name as soon as it is known.

    A download that was cut stays for the next try; one that is whole goes, so that a damaged one is fetched anew.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "fsd" / "incoming" / link_key(link)
    try:
        path = _fetched(link, place, need_free)
    except SessionError:  # refused by its name, before anything of it was kept
        with suppress(OSError):
            place.rmdir()
        raise
    try:
        yield path
    finally:
        files.remove_folder(place)


def _fetched(link: str, place: Path, need_free: Callable[[str], None]) -> Path:
    if number := links.drive_folder(link):
        return drive_folder.fetch_folder(number, place, drive_folder.asking(), need_free)

    def look(start: bytes) -> None:
        need_free(session_in(start))

    found = links.read_link(link)
    if not isinstance(found, Source):
        return download.fetch(found.url, place, page=found.page, look=look)
    if not found.file:
        raise RecipeError(f"{link} is a whole repository, not a session", "give the link of the zip in it")
    page = f"https://huggingface.co/{found.repository}"
    return download.fetch(f"{page}/resolve/{found.revision}/{found.file.name}", place, page=page, look=look)


def _file_of(session: Session, model: TrainedModel) -> Path | None:
    """The CKPT or LoRA of exactly this model, by what its metadata says: the one under the session's name, else any."""
    places = [Session(folder) for folder in (session.folder, working(session.folder)) if folder.is_dir()]
    names = {path.name: path for one in places for path in (one.lora_files() if model.lora else one.ckpt_files())}
    for path in sorted(names.values(), key=lambda path: (path.stem != session.name, path.suffix == ".ckpt", path.name)):
        try:
            if read_weights(path)[1].get(MARK) == model.mark:
                return path
        except WeightsError:
            continue
    return None


def _written(session: Session, model: TrainedModel) -> Path:
    """The CKPT or LoRA, written now: on the local disk where it is on its way to Drive."""
    saved = save_lora_stage(session, "") if model.lora else save_stage(session, "safetensors", "fp16", "")
    path = Path(saved["lora" if model.lora else "ckpt"])
    local = working(session.folder) / (session.loras.name if model.lora else "") / path.name
    return local if local.is_file() else path


def _as_text(repository: str, sent: list[Sent]) -> str:
    rows = [
        [one.name, report.human_bytes(one.size_bytes), one.sha256, "was there" if one.there_already else "sent"]
        for one in sent
    ]
    table = report.table(rows, ["file", "size", "SHA-256", "confirmed by the hub"])
    return f"https://huggingface.co/{repository} (private)\n{table}"
