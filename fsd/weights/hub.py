"""The hub, through its own client: folders and single files, with errors that say what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from fsd.errors import DownloadError, FsdError, MachineError, WeightsError
from fsd.families.family import RemoteFile, Source
from fsd.runtime import files, secrets
from fsd.runtime.report import human_bytes
from fsd.weights.base_folder import ALL_PARTS, check_folder, check_parts
from fsd.weights.hub_errors import hub_error, need_way_to_hub
from fsd.weights.hub_retries import retries_said

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


def hub_files(source: Source, patterns: Collection[str], check: Callable[[Path], Path], offline: bool = False) -> Path:
    """The folder of a repository's files of those names; what is there, and is what `check` wants, is used without asking.

    Arguments and errors as for `hub_folder`, and the errors of `check`.
    """
    try:
        return check(_snapshot(source, patterns, (), offline=True))
    except (DownloadError, WeightsError):
        if offline:
            raise
    return check(_snapshot(source, patterns, (), offline=False))


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
        import huggingface_hub.utils  # not every release has it as an attribute before that
    except ImportError:
        hint = "install it: fsd setup train"
        raise DownloadError(f"huggingface_hub, which fetches {source.repository}, is not installed", hint) from None
    try:
        if offline:
            return ask(client, local_files_only=True)
        need_way_to_hub()
        token = secrets.token("HF_TOKEN") or None
        with retries_said(source.repository):
            _need_room(source, _missing_bytes(client, ask, token))
            return ask(client, token=token)
    except FsdError:
        raise
    except Exception as fault:  # the hub's own errors, its HTTP client's and the disk's
        raise hub_error(source, fault) from None


def _missing_bytes(client: Any, ask: Callable[..., Any], token: str | None) -> int:
    """How much would be fetched; 0 where the hub refuses to say, for then the download itself says why."""
    bars = client.utils
    shown = not bars.are_progress_bars_disabled()
    if shown:
        bars.disable_progress_bars()
    try:
        planned = ask(client, token=token, dry_run=True)
    except client.errors.DryRunError as fault:
        if fault.__cause__ and not hasattr(
            fault.__cause__, "response"
        ):  # no answer: the download would get none either
            raise fault.__cause__ from None
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
