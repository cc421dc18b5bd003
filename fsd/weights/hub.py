"""The hub, through its own client: folders and single files, with errors that say what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from fsd.errors import DownloadError, FsdError, MachineError, WeightsError
from fsd.families import FAMILIES
from fsd.families.family import RemoteFile, Source
from fsd.runtime import files, secrets
from fsd.runtime.report import human_bytes
from fsd.weights.base_folder import ALL_PARTS, check_folder, check_parts

SKIPPED = ("*.fp16.safetensors", "*.fp16-*", "*.fp16.json", "*.non_ema.safetensors")
"""Variants, where the whole weights are there too."""

_ENDS = (".json", ".txt", ".model", ".safetensors")
_SPARE_BYTES = 64 << 20


def hub_folder(source: Source, offline: bool = False, parts: Collection[str] = ()) -> Path:
    """The folder of a hub repository in the hub's cache; what is there is used without asking the hub.

    parts: what is needed of it (default: a whole model). offline: fetch nothing. Only configurations, tokenizers and
    safetensors are fetched, of variants none unless there is nothing else. DownloadError says what to do; WeightsError
    when what is there is not whole.
    """
    patterns = ["model_index.json", *(f"{part}/*{end}" for part in parts or ALL_PARTS for end in _ENDS)]

    def check(folder: Path) -> Path:
        return check_parts(folder, parts) if parts else check_folder(folder)

    try:
        return check(_snapshot(source, patterns, SKIPPED, offline=True))
    except (DownloadError, WeightsError):
        if offline:
            raise
    folder = _snapshot(source, patterns, SKIPPED, offline=False)
    try:
        return _verified(source, check(folder))
    except WeightsError:
        folder = _snapshot(source, patterns, (), offline=False)
    try:
        return check(folder)
    except WeightsError as fault:
        page = f"https://huggingface.co/{source.repository}/blob/{source.revision}"
        raise WeightsError(
            fault.message, f"if it is one file with the whole model, give its link: {page}/FILE"
        ) from None


def hub_file(source: Source, offline: bool = False) -> Path:
    """The one file of a source, in the hub's cache; arguments and errors as for `hub_folder`."""
    assert source.file is not None
    try:
        return _single(source, source.file.name, offline=True)
    except DownloadError:
        if offline:
            raise
    path = _single(source, source.file.name, offline=False)
    _verify(path, source.file)
    return path


def mirrors(repository: str) -> str:
    """The families that hold the model of a repository, or of one of the same name elsewhere, as a sentence; or ""."""
    last = repository.rpartition("/")[2].lower()
    found = [
        f"{family.name} (tries {', '.join(dict.fromkeys(source.repository for source in family.sources))})"
        for family in FAMILIES.values()
        if any(last == source.repository.rpartition("/")[2].lower() for source in family.sources)
    ]
    return f"fsd knows this model as {' or '.join(found)}" if found else ""


def _snapshot(source: Source, patterns: Collection[str], skipped: Collection[str], offline: bool) -> Path:
    """A repository's files in the hub's cache."""

    def ask(client: Any, **given: Any) -> Any:
        return client.snapshot_download(
            source.repository, revision=source.revision, allow_patterns=list(patterns), ignore_patterns=list(skipped),
            **given,
        )  # fmt: skip

    return Path(_ask_hub(source, ask, offline))


def _single(source: Source, name: str, offline: bool) -> Path:
    """One file of a repository in the hub's cache."""

    def ask(client: Any, **given: Any) -> Any:
        return client.hf_hub_download(source.repository, name, revision=source.revision, **given)

    return Path(_ask_hub(source, ask, offline))


def _ask_hub(source: Source, ask: Callable[..., Any], offline: bool) -> Any:
    """The one place that talks to the hub; without a token of ours the hub's own login is used."""
    try:
        import huggingface_hub as client
    except ImportError:
        hint = 'install it: pip install "fsd[train]"'
        raise DownloadError(f"huggingface_hub, which fetches {source.repository}, is not installed", hint) from None
    try:
        if offline:
            return ask(client, local_files_only=True)
        token = secrets.token("HF_TOKEN") or None
        _need_room(source, _missing_bytes(client, ask, token))
        return ask(client, token=token)
    except FsdError:
        raise
    except Exception as fault:  # the hub's own errors, its HTTP client's and the disk's
        raise _hub_error(source, fault) from None


def _missing_bytes(client: Any, ask: Callable[..., Any], token: str | None) -> int:
    """How much would be fetched; 0 where the hub does not say, for then the download itself says why."""
    bars = client.utils
    shown = not bars.are_progress_bars_disabled()
    if shown:
        bars.disable_progress_bars()
    try:
        planned = ask(client, token=token, dry_run=True)
    except client.errors.DryRunError:
        return 0
    finally:
        if shown:
            bars.enable_progress_bars()
    return sum(
        file.file_size or 0 for file in (planned if isinstance(planned, list) else [planned]) if file.will_download
    )


def _need_room(source: Source, missing: int) -> None:
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if missing + _SPARE_BYTES > free:
        what = f"{source.repository} needs {human_bytes(missing)}, and {human_bytes(free)} are free"
        raise MachineError(f"no space in {place}: {what}", "make room there, or set HF_HOME to a larger disk")


def _verified(source: Source, folder: Path) -> Path:
    for file in source.files:
        if (folder / file.name).is_file():
            _verify(folder / file.name, file)
    return folder


def _verify(path: Path, known: RemoteFile) -> None:
    """DownloadError, and the file is deleted, unless it has the size and SHA-256 that are known."""
    right = known.size_bytes in (None, path.stat().st_size) and known.sha256 in ("", files.sha256(path))
    if not right:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        hint = "it was deleted; run it again, and if that does not help take the model from elsewhere"
        raise DownloadError(f"{known.name} is not what it should be: its size or SHA-256 differs", hint)


def _hub_error(source: Source, fault: Exception) -> FsdError:
    """What went wrong at the hub, and what to do; never the hub's own text, which may hold addresses and tokens."""
    kinds = {kind.__name__ for kind in type(fault).__mro__}
    status = getattr(getattr(fault, "response", None), "status_code", None)
    name, page = source.repository, f"https://huggingface.co/{source.repository}"
    known = mirrors(name)
    if "RevisionNotFoundError" in kinds:
        return DownloadError(f"{name} has no revision {source.revision!r}", f"choose one of those at {page}")
    if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
        return DownloadError(f"{name} has no file {source.file.name if source.file else ''}", f"look at {page}")
    if "GatedRepoError" in kinds and status == 401:
        hint = f"accept its licence at {page}, {secrets.how_to_sign_in(page)}"
        return DownloadError(f"the hub wants a token for {name} ({status}): its licence must be accepted", hint)
    if "GatedRepoError" in kinds or status == 403:
        hint = f"accept its licence at {page} with the account that the token belongs to"
        return DownloadError(f"the hub does not give you {name} ({status}): its licence is not accepted", hint)
    if "RepositoryNotFoundError" in kinds or status in {401, 404}:
        hint = known or f"check the spelling; if it is gone, give another OWNER/NAME or a family: {', '.join(FAMILIES)}"
        private = f"; if it is private, {secrets.how_to_sign_in(page)}"
        return DownloadError(f"{name} is gone from the hub, or private ({status})", hint + private)
    if kinds & {"LocalEntryNotFoundError", "ConnectError", "ConnectionError", "TimeoutException"}:
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in {"", "0"}
        hint = "unset HF_HUB_OFFLINE" if offline else "check the connection and run again: it goes on where it stopped"
        return DownloadError(f"{name} is not on this machine and the hub cannot be reached", hint)
    if status == 429:
        hint = f"wait some minutes, or {secrets.how_to_sign_in(page)}"
        return DownloadError(f"the hub has had too many requests ({name})", hint)
    if isinstance(fault, OSError) and fault.errno:
        return MachineError(f"{name} could not be stored: {fault.strerror}", "make room where HF_HOME is")
    what = f"{name} could not be fetched: {type(fault).__name__}" + (f" {status}" if status else "")
    return DownloadError(what, "run again: it goes on where it stopped")
