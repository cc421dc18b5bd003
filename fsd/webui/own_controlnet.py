"""A ControlNet of the user's own: a file, a Diffusers folder or a link, and what to call it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fsd.errors import RecipeError
from fsd.families.family import RemoteFile, Source
from fsd.runtime.download import fetch
from fsd.runtime.file_names import safe_name
from fsd.runtime.partial import link_key
from fsd.weights.base_model import REPOSITORY, models_folder
from fsd.weights.hub import hub_file
from fsd.weights.links import Link, find_file, is_link, read_link
from fsd.weights.parts import weight_files

SUFFIXES = (".safetensors", ".pth", ".ckpt", ".pt", ".bin")
"""What sd-webui-controlnet lists."""

_FOLDER_FILE = "diffusion_pytorch_model.safetensors"
_SAY_NOTHING = ("diffusion_pytorch_model", "pytorch_model", "model", "download", "controlnet")


@dataclass(frozen=True)
class Own:
    """The file. name: what to call it. downloaded: it was fetched for this, and is not the user's own to keep."""

    path: Path
    name: str
    downloaded: bool = False


def is_own(what: str) -> bool:
    """Whether a text that is no task names a ControlNet of one's own."""
    return is_link(what) or "/" in what or Path(what).suffix in SUFFIXES or os.path.exists(os.path.expanduser(what))


def get_own(what: str) -> Own:
    """A file, the one weight file of a Diffusers folder, or what a link or OWNER/NAME on the hub leads to, fetched.

    RecipeError for what is none of these, DownloadError and MachineError as for any download.
    """
    if is_link(what):
        place = read_link(what)
        return _from_hub(place) if isinstance(place, Source) else _from_site(place)
    path = Path(os.path.expanduser(what))
    if os.path.isdir(path):
        file = _weights_of(path)
        return Own(file, _name(path.resolve().name, file))
    if os.path.isfile(path):
        return Own(path, _name(path.resolve().parent.name, path))
    if path.suffix not in SUFFIXES and (match := REPOSITORY.fullmatch(what)):
        return _from_hub(Source(match["name"], match["revision"] or "main"))
    raise RecipeError(f"there is no file {what}", "check the path; files on Drive need Drive to be mounted first")


def _from_hub(place: Source) -> Own:
    file = place.file or RemoteFile(_FOLDER_FILE)
    found = hub_file(Source(place.repository, place.revision, file))
    return Own(found, _name(place.repository.replace("/", "_"), found), downloaded=True)


def _from_site(place: Link) -> Own:
    """A link's file; each link has its own folder of downloads, so that it comes once and equal names do not meet."""
    folder = models_folder() / f"{urlsplit(place.url).hostname}-{link_key(place.url)}"
    file = _downloaded(folder)
    if not file:
        link = find_file(place, "Controlnet")
        file = fetch(link.url, folder, name=link.name, sha256=link.sha256, page=link.page, label=link.name)
    return Own(file, _name(folder.name, file), downloaded=True)


def _downloaded(folder: Path) -> Path | None:
    """The one whole file of a link's folder; downloads get their name once they are checked."""
    found = [path for path in folder.glob("*") if path.is_file() and not path.name.startswith(".")]
    return found[0] if len(found) == 1 else None


def _weights_of(folder: Path) -> Path:
    found = weight_files(folder, pickles=True)
    if len(found) > 1:
        raise RecipeError(f"{folder} holds a ControlNet in {len(found)} pieces", "give one that is a single file")
    return found[0]


def _name(origin: str, file: Path) -> str:
    """The file's own name, or that of where it comes from where its own says nothing."""
    suffix = file.suffix if file.suffix in SUFFIXES else _suffix_by_content(file)
    stem = file.name.removesuffix(suffix)
    generic = stem.partition(".")[0].removesuffix("_promax") in _SAY_NOTHING
    return safe_name((origin if generic else stem) + suffix)


def _suffix_by_content(file: Path) -> str:
    with file.open("rb") as stream:
        return ".safetensors" if stream.read(9)[8:] == b"{" else ".pth"
