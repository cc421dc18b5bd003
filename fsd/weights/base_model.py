"""The model that training starts from, wherever people keep it, always as a Diffusers folder."""

from __future__ import annotations

import importlib
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from fsd.errors import DownloadError, FsdError, RecipeError, WeightsError
from fsd.families import FAMILIES, get_family
from fsd.families.family import ModelFamily, Source
from fsd.runtime import drive, files, report
from fsd.runtime.partial import link_key
from fsd.weights.base_folder import check_folder, check_parts, file_fingerprint
from fsd.weights.hub import hub_file, hub_folder
from fsd.weights.hub_errors import HubUnreachable
from fsd.weights.parts import read_json

REPOSITORY = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
FILES = (".safetensors", ".ckpt")
INSTALL_WHEEL = 'in the folder of fsd: pip install -q -c wheels/locks/cpu.txt --find-links wheels ".[demo]"'
"""What to do without a base model that is a wheel of this project, which the machine's setup does not install."""


def find_base_model(spec: str, family: str = "") -> Path:
    """The Diffusers folder of a base model, fetched and converted first where it is not on this machine.

    spec: a family ("sd15", "tiny"); OWNER/NAME on the hub, with @REVISION if wanted; a local Diffusers folder,
    .safetensors or .ckpt; or a link: a page or file of the hub or Civitai, a file shared on Google Drive, any other.
    family: what a single file is, where it does not tell. What was fetched once is used without asking anyone.
    RecipeError for a spec that is none of these, DownloadError when it cannot be fetched, WeightsError when what is
    there is not a whole model, MachineError when there is no space.
    """
    from fsd.weights.links import is_link

    if family:
        get_family(family)
    if spec in FAMILIES:
        return _of_family(FAMILIES[spec])
    if is_link(spec):
        return _from_link(spec, family)
    path = Path(os.path.expanduser(spec))
    if spec and os.path.isdir(path):  # which, unlike Path.is_dir, takes any text
        return check_folder(path)
    if spec and os.path.isfile(path):
        return _from_file(path, family)
    if path.suffix in FILES:
        raise RecipeError(f"there is no file {path}", "check the path; files on Drive need Drive to be mounted first")
    if match := REPOSITORY.fullmatch(spec):
        return hub_folder(Source(match["name"], match["revision"] or "main"))
    hint = f"choose one of: {', '.join(FAMILIES)}, a Diffusers folder, a model file, a link, or OWNER/NAME on the hub"
    raise RecipeError(f"there is no base model {spec!r}", hint)


def base_model_here(spec: str) -> Path | None:
    """The Diffusers folder of a base model where it is on this machine as one; else None, and nothing is fetched."""
    repository = REPOSITORY.fullmatch(spec)
    sources = [Source(repository["name"], repository["revision"] or "main")] if repository else ()
    for source in FAMILIES[spec].sources if spec in FAMILIES else sources:
        with suppress(DownloadError, WeightsError):
            if not source.file:
                return _package_folder(source.package) if source.package else hub_folder(source, offline=True)
    folder = Path(os.path.expanduser(spec))
    return folder if spec and os.path.isdir(folder) else None


def models_folder() -> Path:
    """Where downloads and converted models are kept: FSD_HOME/models if set, else the user's cache on the local disk.

    Not on Drive unless FSD_HOME says so: it is slow, and what comes from a link can come again.
    """
    if home := os.environ.get("FSD_HOME"):
        return drive.place(home) / "models"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fsd" / "models"


def _of_family(family: ModelFamily) -> Path:
    """The folder from the first source that has it: what is on this machine first; one error of all when none has."""
    faults: list[FsdError] = []
    for offline in (True, False):
        faults.clear()
        for source in family.sources:
            try:
                return _of_source(source, family, offline)
            except (DownloadError, WeightsError) as fault:
                faults.append(fault)
                if not offline and isinstance(fault, HubUnreachable):
                    raise
    if len(faults) == 1:
        raise faults[0]
    reasons = "; ".join(dict.fromkeys(fault.message for fault in faults))
    raise DownloadError(f"no source has {family.title}: {reasons}", faults[0].hint)


def _of_source(source: Source, family: ModelFamily, offline: bool) -> Path:
    if source.package:
        return check_folder(_package_folder(source.package))
    return _from_file(hub_file(source, offline), family.name) if source.file else hub_folder(source, offline)


def _package_folder(package: str) -> Path:
    try:
        return Path(importlib.import_module(package).model_folder())
    except ImportError:
        raise DownloadError(f"the package {package} is not installed", INSTALL_WHEEL) from None


def _from_link(spec: str, family: str) -> Path:
    """The folder behind a link; each link has its own folder of downloads, so that equal names do not meet."""
    from fsd.runtime.download import fetch
    from fsd.weights.links import find_file, read_link

    place = read_link(spec)
    if isinstance(place, Source):
        return _from_file(hub_file(place), family) if place.file else hub_folder(place)
    folder = models_folder() / f"{urlsplit(place.url).hostname}-{link_key(place.url)}"
    file = _downloaded(folder)
    if not file:
        link = find_file(place)
        file = fetch(link.url, folder, name=link.name, sha256=link.sha256, page=link.page, label=link.name)
    try:
        return _from_file(file, family)
    except WeightsError as fault:
        raise WeightsError(fault.message, f"{fault.hint}; to download it again, delete {folder}") from None


def _downloaded(folder: Path) -> Path | None:
    """The one whole file of a link's folder; downloads get their name once they are checked."""
    found = [path for path in folder.glob("*") if path.is_file() and not path.name.startswith(".")]
    return found[0] if len(found) == 1 else None


def _from_file(file: Path, family: str) -> Path:
    """The folder made of a single file, kept by the file's content, so that it is made once; anew for another family."""
    from fsd.weights.detect import require_model

    folder = models_folder() / "folders" / f"{_stem(file)}-{file_fingerprint(file)[:12]}"
    if made := _made(folder, family):
        return made
    found = require_model(file)
    name = family or found.family
    if not name:
        hint = f"name its family, one of: {', '.join(FAMILIES)}"
        raise WeightsError(f"{file} is {found.title}, and several families have such models", hint)
    files.remove_folder(folder)
    _convert(file, folder, get_family(name), found.prediction, found.parts)
    files.write_json(folder / "fsd.json", {"family": name, "made_from": file.name})
    return check_folder(folder)


def _made(folder: Path, family: str) -> Path | None:
    """`folder` if it is whole and was made for that family; "" takes what was chosen before."""
    try:
        return check_folder(folder) if read_json(folder / "fsd.json").get("family") == family or not family else None
    except WeightsError:
        return None


def _stem(file: Path) -> str:
    return re.sub(r"[^\w.-]+", "_", file.name.removesuffix(file.suffix) if file.suffix in FILES else file.name)[:80]


def _convert(file: Path, folder: Path, family: ModelFamily, prediction: str, parts: tuple[str, ...]) -> None:
    """The one place that turns a file into a folder. Tokenizers, and parts that the file lacks, are the family's."""
    from fsd.weights.folder import write_folder
    from fsd.weights.keys import get_layout

    absent = [part for part in get_layout(family.layout).names() if part not in parts]
    lender = _lender(family, absent)
    report.say(f"making a Diffusers folder of {file.name}")
    with report.progress(file.name, file.stat().st_size, unit="B") as bar:
        write_folder(file, folder, lender, family.name, prediction=prediction, tell=bar.update)


def _lender(family: ModelFamily, absent: list[str]) -> Path:
    """A folder with the tokenizers and the named parts, from the family or one that has the same text encoders."""
    encoders = [(encoder.part, encoder.title) for encoder in family.text_encoders]
    wanted = [*absent, *(part.replace("text_encoder", "tokenizer") for part, _ in encoders)]
    same = [other for other in FAMILIES.values() if [(one.part, one.title) for one in other.text_encoders] == encoders]
    lenders = [family] if absent else [family, *(other for other in same if other is not family)]
    sources = [source for lender in lenders for source in lender.sources if not source.file]
    faults: list[FsdError] = []
    for offline in (True, False):
        faults.clear()
        for source in sources:
            try:
                if source.package:
                    return check_parts(_package_folder(source.package), wanted)
                return hub_folder(source, offline, wanted)
            except (DownloadError, WeightsError) as fault:
                faults.append(fault)
    reasons = "; ".join(dict.fromkeys(fault.message for fault in faults))
    what = f"a single file lacks {', '.join(wanted)}, and no source of {family.title} lends them: {reasons}"
    raise DownloadError(what, faults[0].hint if faults else "give a Diffusers folder instead")
