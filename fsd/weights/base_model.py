"""The model that training starts from: a family's own, a hub repository or a local folder, always a Diffusers folder."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from pathlib import Path

from fsd.errors import DownloadError, FsdError, RecipeError, WeightsError
from fsd.families import FAMILIES
from fsd.families.family import Source
from fsd.weights.parts import read_json, weight_files

WEIGHTS = ("unet", "vae", "text_encoder")
PARTS = (*WEIGHTS, "tokenizer", "scheduler")
HUB_FILES = ["model_index.json", *(f"{part}/*{end}" for part in PARTS for end in (".json", ".txt", ".safetensors"))]
HUB_SKIPPED = ["*.fp16.safetensors", "*.fp16-*", "*.fp16.json", "*.non_ema.safetensors"]
REPOSITORY = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")


def find_base_model(spec: str) -> Path:
    """The Diffusers folder of a base model, fetched first where it is not on this machine.

    spec: a family ("sd15", "tiny"), a local Diffusers folder, or OWNER/NAME on the hub, with @REVISION if wanted.
    What is in the hub's cache is used without asking the hub. RecipeError for a spec that is none of these,
    DownloadError when it cannot be fetched, WeightsError when what is there is not a whole model.
    """
    if spec in FAMILIES:
        return _from_sources(FAMILIES[spec].sources)
    if spec and Path(spec).expanduser().is_dir():
        return check_folder(Path(spec).expanduser())
    if re.match(r"https?://", spec) or Path(spec).suffix in {".safetensors", ".ckpt"}:
        hint = "give a Diffusers folder or OWNER/NAME on the hub; single files and links come with a later release"
        raise RecipeError(f"{spec} is a single file or a link, which cannot be a base model yet", hint)
    if match := REPOSITORY.fullmatch(spec):
        return check_folder(hub_folder(match["name"], match["revision"]))
    hint = f"choose one of: {', '.join(FAMILIES)}, a Diffusers folder, or OWNER/NAME on the hub"
    raise RecipeError(f"there is no base model {spec!r}", hint)


def check_folder(folder: Path) -> Path:
    """`folder`, which holds all parts of a Stable Diffusion pipeline; WeightsError naming what is missing otherwise."""
    missing = [name for name in PARTS if not (folder / name).is_dir()]
    if not (folder / "model_index.json").is_file():
        missing.insert(0, "model_index.json")
    if missing:
        hint = "choose a folder saved by Diffusers' save_pretrained, with safetensors weights"
        raise WeightsError(f"{folder} is not a whole Diffusers model: no {', '.join(missing)}", hint)
    for part in WEIGHTS:
        read_json(folder / part / "config.json")
        if lost := [file.name for file in weight_files(folder / part) if not file.is_file()]:
            raise WeightsError(f"{folder / part} lacks {', '.join(lost)}", "download the model again")
    return folder


def base_fingerprint(folder: Path) -> str:
    """SHA-256, in hexadecimal, that tells the weights below `folder` from others without reading gigabytes.

    Of every weight file of the parts that are there: its name, its size, and its bytes: all of them up to 64 MiB,
    otherwise the first and the last MiB and 64 KiB out of every 1/64 between. A change that misses all of these
    goes unnoticed; training, casting or merging changes every tensor and does not.
    """
    found = hashlib.sha256()
    for part in WEIGHTS:
        for file in weight_files(folder / part) if (folder / part).is_dir() else []:
            found.update(f"{part}/{file.name} {file.stat().st_size}\n".encode())
            with file.open("rb") as stream:
                for start, size in _samples(file.stat().st_size):
                    stream.seek(start)
                    found.update(stream.read(size))
    return found.hexdigest()


def _samples(size: int) -> list[tuple[int, int]]:
    """The (start, length) of the bytes that stand for a file of `size` bytes."""
    if size <= 64 << 20:
        return [(0, size)]
    return [(0, 1 << 20), *((size * piece // 64, 64 << 10) for piece in range(1, 64)), (size - (1 << 20), 1 << 20)]


def _from_sources(sources: tuple[Source, ...]) -> Path:
    """The folder from the first source that has it; the last source's error when none does."""
    for source in sources:
        try:
            if source.package:
                return check_folder(_wheel_folder(source.package))
            return check_folder(hub_folder(source.repository, source.revision))
        except DownloadError as fault:
            last = fault
    raise last


def _wheel_folder(package: str) -> Path:
    try:
        return Path(importlib.import_module(package).model_folder())
    except ImportError:
        hint = f"install the wheel wheels/{package}-*.whl (the demo and test extras do)"
        raise DownloadError(f"the package {package} is not installed", hint) from None


def hub_folder(repository: str, revision: str | None = None) -> Path:
    """The folder of a hub repository in the hub's cache, downloaded unless it is there and whole.

    Only configurations, tokenizer and full-precision safetensors are fetched. DownloadError says what to do.
    """
    try:
        return check_folder(_hub_snapshot(repository, revision, offline=True))
    except (DownloadError, WeightsError):
        return _hub_snapshot(repository, revision, offline=False)


def _hub_snapshot(repository: str, revision: str | None, offline: bool) -> Path:
    """The one place that talks to the hub; its token comes from the environment or the hub's own login."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        hint = 'install it: pip install "fsd[train]"'
        raise DownloadError(f"huggingface_hub, which fetches {repository}, is not installed", hint) from None
    try:
        found = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=HUB_FILES,
            ignore_patterns=HUB_SKIPPED,
            local_files_only=offline,
        )
    except Exception as fault:  # the hub's own errors, its HTTP client's and the disk's
        raise _hub_error(repository, revision, fault) from None
    return Path(found)


def _hub_error(repository: str, revision: str | None, fault: Exception) -> FsdError:
    """What went wrong at the hub, and what to do; never the hub's own text, which may hold addresses and tokens."""
    kinds = {kind.__name__ for kind in type(fault).__mro__}
    status = getattr(getattr(fault, "response", None), "status_code", None)
    page = f"https://huggingface.co/{repository}"
    if "RevisionNotFoundError" in kinds:
        return DownloadError(f"{repository} has no revision {revision!r}", f"choose one of those at {page}")
    if "GatedRepoError" in kinds or status == 403:
        hint = f"accept its licence at {page}, then set HF_TOKEN to a token of that account"
        return DownloadError(f"the hub does not give you {repository}: its licence is not accepted", hint)
    if "RepositoryNotFoundError" in kinds or status in {401, 404}:
        hint = "check the spelling; for a private one set HF_TOKEN; if it is gone, give another OWNER/NAME"
        return DownloadError(f"{repository} is not on the hub, or private ({status})", hint)
    if "LocalEntryNotFoundError" in kinds or "ConnectError" in kinds or "ConnectionError" in kinds:
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in {"", "0"}
        hint = "unset HF_HUB_OFFLINE" if offline else "check the connection and run again: it goes on where it stopped"
        return DownloadError(f"{repository} is not on this machine and the hub cannot be reached", hint)
    if status == 429:
        return DownloadError(f"the hub has had too many requests ({repository})", "wait some minutes, or set HF_TOKEN")
    if isinstance(fault, OSError) and fault.errno:
        return DownloadError(f"{repository} could not be stored: {fault.strerror}", "make room where HF_HOME is")
    what = f"{repository} could not be fetched: {type(fault).__name__}" + (f" {status}" if status else "")
    return DownloadError(what, "run again: it goes on where it stopped")
