"""Zip files from anywhere, read without trust: all members are checked before one is opened.

The sizes they declare can be trusted then: `zipfile` reads no more of a member than that, and checks its CRC.
"""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

from fsd.data.names import has_control, shortened
from fsd.errors import SessionError

MAX_MEMBERS = 50_000
MAX_TOTAL_BYTES = 64 << 30
"""A session with its checkpoints; a zip of photos is given less."""
MAX_RATIO = 200
"""Unpacked to packed size. Photos and weights stay below 10, logs below 30, a bomb reaches 1000."""
RATIO_FREE_BYTES = 4 << 20
"""Below this unpacked size a member's ratio does not matter."""
CHUNK_BYTES = 1 << 20
_MEMBER = b"PK\3\4"
"""How each member begins, and so nearly every zip."""

_AGAIN = "copy it again from where it is whole, or export it anew"
_FROM_LINK = (
    "run it again, it is fetched anew; if that does not help, ask whoever shares it to export and share it anew"
)
_HINT = "make the zip anew with plain files and folders, or unpack it yourself and give the folder"


class SafeZip:
    """A zip opened for reading. members: its checked files, without folders. SessionError when anything is unsafe.

    content: what is read in place of the file at `path`, which then only names it. link: where that file is from, which
    errors name in its place.
    """

    def __init__(
        self, path: Path, max_total_bytes: int = MAX_TOTAL_BYTES, content: BinaryIO | None = None, link: str = ""
    ) -> None:
        self.path, self.max_total_bytes, self._told = path, max_total_bytes, link or str(path)
        self._again = _FROM_LINK if link else _AGAIN
        try:
            self._zip = zipfile.ZipFile(content or path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            fault = _unread(content, path) or error
            raise SessionError(f"{self._told} is not a zip that can be read: {fault}", self._again) from None
        try:
            self.members = self._checked()
        except SessionError:
            self._zip.close()
            raise

    def __enter__(self) -> SafeZip:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._zip.close()

    def chunks(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """The member's bytes in pieces, never more than declared; SessionError when they are damaged."""
        try:
            with self._zip.open(member) as stream:
                while piece := stream.read(CHUNK_BYTES):
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise SessionError(f"{self._called(member)} is damaged: {error}", self._again) from None

    def _checked(self) -> list[zipfile.ZipInfo]:
        members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            raise SessionError(f"{self._told} has {len(members)} members; {MAX_MEMBERS} is the most", _HINT)
        seen: set[str] = set()
        for member in members:
            if fault := _fault(member) or _twice(member, seen):
                raise SessionError(f"{self._called(member)} {fault}", _HINT)
        files = [member for member in members if not member.is_dir()]
        if sum(member.file_size for member in files) > self.max_total_bytes:
            raise SessionError(f"{self._told} unpacks to more than {self.max_total_bytes >> 20} MiB", _HINT)
        for member in files:
            if member.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * member.compress_size):
                told = f"{self._called(member)} unpacks to more than {MAX_RATIO} times its size, as a zip bomb does"
                raise SessionError(told, _HINT)
        return files

    def _called(self, member: zipfile.ZipInfo) -> str:
        return f"{self.path.name}: member {shortened(member.orig_filename, 80)!r}"


def first_folder(start: bytes) -> str:
    """The top folder of a zip's first member, told by how the file begins (APPNOTE.TXT, 4.3.7); "" if there is none."""
    length = int.from_bytes(start[26:28], "little")
    name = start[30 : 30 + length].decode("utf-8", "replace") if start.startswith(_MEMBER) else ""
    top, slash, _ = name.partition("/")
    return top if slash else ""


def _unread(content: BinaryIO | None, path: Path) -> str:
    """Why a file cannot be read as a zip, by how it begins; "" if that tells nothing."""
    try:
        if content:
            content.seek(0)
            start = content.read(len(_MEMBER))
        else:
            with path.open("rb") as stream:
                start = stream.read(len(_MEMBER))
    except OSError:
        return ""
    if start == _MEMBER:
        return "it is cut off, its end is missing"
    return "" if start.startswith(b"PK") else "it is something else" if start else "it is empty"


def _fault(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    kind = stat.S_IFMT(member.external_attr >> 16)
    parts = PurePosixPath(name).parts
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if kind == stat.S_IFLNK else "is a device, not a file"
    if member.flag_bits & 1:
        return "is encrypted"
    if not name or has_control(name):
        return "has control characters in its name"
    if "\\" in name:
        return "has a backslash in its path"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute path"
    if ".." in parts:
        return "leads out of its folder ('..')"
    return "has a name that is too long" if max(map(len, map(str.encode, parts)), default=0) > 255 else ""


def _twice(member: zipfile.ZipInfo, seen: set[str]) -> str:
    key = unicodedata.normalize("NFC", member.orig_filename).rstrip("/")
    if key in seen:
        return "is there twice"
    seen.add(key)
    return ""
