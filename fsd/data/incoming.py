"""A session comes in from a folder or a zip: checked, copied aside, and only then given its name."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fsd.data.copying import LEFT_OUT, becoming, belongs, copied, files_of
from fsd.data.folder import CKPT_SUFFIXES, ORIGINAL_MARKS, Session, read_manifest
from fsd.data.names import check_name, is_silent, user_path
from fsd.data.safe_zip import MAX_TOTAL_BYTES, SafeZip, first_folder
from fsd.data.session import FOLDERS, check_root, open_session_folder, sessions_folder
from fsd.errors import SessionError
from fsd.runtime.files import make_folder, write_json
from fsd.runtime.space import Need, need_room

Copy = tuple[PurePosixPath, int, Callable[[Path], None]]
"""A file of a session to come: its path inside the session, its bytes, and what writes it to a path."""


def import_session(root: Path | str, source: Path | str, name: str | None = None, link: str = "") -> Session:
    """The session made from an exported folder or zip, also of the original suite; whole or not at all.

    name: what to call it here (default: as it was). link: where the source was fetched from, for errors. SessionError if
    the name is taken, or the source unsafe or newer.
    """
    path = user_path(source)
    if not path.exists():
        raise SessionError(f"there is no file or folder {path}", "check the path; is Drive mounted?")
    if path.is_dir():
        read_manifest(path)
        return _bring_in(root, _folder_copies(path), name or path.name, path)
    with SafeZip(path, link=link) as archive:
        top, copies = _zip_copies(archive)
        return _bring_in(root, copies, name or top or path.stem, path)


def session_in(start: bytes) -> str:
    """The name of the session in a zip that begins so; "" where that does not tell."""
    top = first_folder(start)
    return "" if top in (*FOLDERS, *ORIGINAL_MARKS, *LEFT_OUT) or is_silent(top) else top


def _folder_copies(folder: Path) -> list[Copy]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SessionError(f"{path} is a link or a device", "replace it by a plain file, or remove it")

    def copy(path: Path) -> Callable[[Path], None]:
        return lambda target: copied(path, target)

    inner = [(PurePosixPath(path.relative_to(folder).as_posix()), path) for path in files_of(folder)]
    return [(name, path.stat().st_size, copy(path)) for name, path in inner]


def _zip_copies(archive: SafeZip) -> tuple[str, list[Copy]]:
    """(name of the one top folder or "", files below it)."""
    members = [(PurePosixPath(member.filename), member) for member in archive.members]
    members = [(path, member) for path, member in members if not is_silent(member.filename)]
    tops = {path.parts[0] for path, _ in members if len(path.parts) > 1}
    wrapped = len(tops) == 1 and all(len(path.parts) > 1 for path, _ in members) and not tops & {"instance_images"}
    if wrapped:
        members = [(PurePosixPath(*path.parts[1:]), member) for path, member in members]

    def unpack(member: zipfile.ZipInfo) -> Callable[[Path], None]:
        def write(target: Path) -> None:
            with target.open("wb") as stream:
                stream.writelines(archive.chunks(member))
            moment = time.mktime((*member.date_time, 0, 0, -1))
            os.utime(target, (moment, moment))

        return write

    copies = [(path, member.file_size, unpack(member)) for path, member in members if belongs(path)]
    return (tops.pop() if wrapped else ""), copies


def free_folder(root: Path | str, name: str) -> Path:
    """Where a session of that name will lie; SessionError if the name cannot be one, or is taken."""
    check_root(root)
    folder = sessions_folder(root) / check_name(name)
    if folder.exists():
        told = f"there is already a session {name!r} in {folder.parent}"
        raise SessionError(told, "give the import another name: name=NEW")
    return folder


def _bring_in(root: Path | str, copies: list[Copy], name: str, source: Path) -> Session:
    folder = free_folder(root, name)
    total = sum(size for _, size, _ in copies)
    if total > MAX_TOTAL_BYTES:
        raise SessionError(
            f"{source} holds {total >> 30} GiB", f"{MAX_TOTAL_BYTES >> 30} GiB is the most for a session"
        )
    with becoming(folder) as stage:
        need_room([Need("the session", stage, total)])
        for inner, _, write in copies:
            target = stage / inner
            try:
                make_folder(target.parent)
                write(target)
            except OSError as error:
                raise SessionError(
                    f"{source}: {inner} cannot be written: {error.strerror}", "check the source"
                ) from None
        _called_anew(stage, folder.name, source)
    return open_session_folder(folder)


def _called_anew(stage: Path, name: str, source: Path) -> None:
    """Check that what came in is a session this fsd knows, and let its record, CKPT and LoRA files carry the new name."""
    known = (stage / "session.json").is_file() or any((stage / mark).is_dir() for mark in ORIGINAL_MARKS)
    if not known and not any(path.suffix in CKPT_SUFFIXES for path in stage.iterdir()):
        raise SessionError(
            f"{source} holds no session: no session.json, no instance_images", "choose an exported session"
        )
    if not (stage / "session.json").is_file():
        return
    record = read_manifest(stage, source.name)
    for part in FOLDERS:
        (stage / part).mkdir(exist_ok=True)
    inside = Session(stage)  # what the record calls itself may lead anywhere: only files in the stage move
    for path in [*inside.ckpt_files(), *inside.lora_files()]:
        target = path.with_name(f"{name}{path.suffix}")
        if path.name == f"{record['name']}{path.suffix}" and not target.exists():
            path.rename(target)
    write_json(stage / "session.json", record | {"name": name})
