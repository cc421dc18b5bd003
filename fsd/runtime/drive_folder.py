"""A folder that somebody shares on Google Drive, fetched with the user's own access: each file checked by its MD5."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

from fsd.errors import DownloadError, MachineError
from fsd.runtime import colab, download, files, report
from fsd.runtime.drive_api import ALL_DRIVES, DriveApi
from fsd.runtime.file_names import safe_name
from fsd.runtime.space import Need, need_room

MOST_FILES = 50_000
_DEEPEST = 20
_FOLDER = "application/vnd.google-apps.folder"
_LISTED = "id,name,mimeType,size,md5Checksum"


@dataclass(frozen=True)
class Remote:
    """A file of the folder. inner: its path there. number: its ID on Drive."""

    inner: PurePosixPath
    number: str
    size_bytes: int
    md5: str


def asking() -> DriveApi:
    """The API with the access that Colab asks its user for; MachineError elsewhere."""
    if not colab.in_colab():
        raise MachineError(
            "the files of a folder on Google Drive are only told to whoever signs in, which fsd can do on Colab alone",
            "share one zip of it and give its link; or add a shortcut to the folder in My Drive, and give its path",
        )
    return DriveApi(partial(colab.drive_token, colab.READ_FILES))


def fetch_folder(number: str, place: Path, api: DriveApi, look: Callable[[str], object] = str) -> Path:
    """The folder with that ID, in `place` under its own name; files that are there from an earlier try stay.

    look: is told the name before anything is fetched; what it raises ends it.
    DownloadError when it holds what cannot be a folder here, or a file does not arrive as it is there; MachineError
    without access or space.
    """
    top = api.ask(f"files/{number}", {"fields": _LISTED, "supportsAllDrives": "true"})
    if top.get("mimeType") != _FOLDER:
        raise DownloadError(
            f"{top.get('name', number)} is no folder on Google Drive", "share the folder, or a zip of it"
        )
    folder = place / (safe_name(top["name"]) or "folder")
    look(folder.name)
    remotes = list(_listed(api, number, PurePosixPath(), set()))
    there = [remote for remote in remotes if _size(folder / remote.inner) == remote.size_bytes]
    total = sum(remote.size_bytes for remote in remotes) - sum(remote.size_bytes for remote in there)
    need_room([Need(top["name"], place, total)])
    files.make_folder(folder)
    with report.progress(top["name"], total, unit="B") as bar:
        for remote in remotes:
            if remote not in there:
                _fetch(remote, folder / remote.inner, place / ".arriving", api)
                bar.update(remote.size_bytes)
    return folder


def _listed(api: DriveApi, number: str, inner: PurePosixPath, seen: set[PurePosixPath]) -> Iterator[Remote]:
    """The files below a folder. Left out are housekeeping, and what is no file: documents and shortcuts."""
    if len(inner.parts) > _DEEPEST:
        raise DownloadError(f"the folders in {inner.parts[0]!r} go too deep", "share a zip of it instead")
    question = {"q": f"'{number}' in parents and trashed = false", "pageSize": "1000"} | ALL_DRIVES
    for row in api.pages("files", question | {"fields": f"nextPageToken,files({_LISTED})"}):
        if row["name"].startswith("."):
            continue
        path = inner / (safe_name(row["name"]) or "unnamed")
        if path in seen:
            raise DownloadError(f"{path} is there twice", "rename one of them on Drive, or share a zip of it instead")
        seen.add(path)
        if len(seen) > MOST_FILES:
            raise DownloadError(f"the folder holds more than {MOST_FILES} files", "share the session's folder alone")
        if row["mimeType"] == _FOLDER:
            yield from _listed(api, row["id"], path, seen)
        elif row.get("md5Checksum"):
            yield Remote(path, row["id"], int(row["size"]), row["md5Checksum"])
        else:
            report.say(f"left out: {path}, which is no file but {row['mimeType'].rpartition('.')[2]!r}")


def _fetch(remote: Remote, target: Path, arriving: Path, api: DriveApi) -> None:
    """One file, which has its place only once it is whole."""
    files.make_folder(target.parent)
    if not remote.size_bytes:
        target.touch()
        return
    question = {"alt": "media", "supportsAllDrives": "true"}
    url = f"{api.api}/files/{remote.number}?{urlencode(question)}"
    found = download.fetch(
        url, arriving / remote.number, name="file", size_bytes=remote.size_bytes, token=api.token(), quiet=True,
        label=str(remote.inner), page=f"https://drive.google.com/file/d/{remote.number}/view",
    )  # fmt: skip
    with found.open("rb") as stream:
        md5 = hashlib.file_digest(stream, _md5).hexdigest()
    if md5 == remote.md5:
        os.replace(found, target)
    files.remove_folder(arriving / remote.number)
    if md5 != remote.md5:
        what = f"{remote.inner} did not arrive as it is on Drive: its MD5 is {md5}, not {remote.md5}"
        raise DownloadError(what, "run it again: what arrived whole is not fetched twice")


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
