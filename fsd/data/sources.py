"""Where photos come from: a folder, files, a zip or an upload, as one list of named contents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from zipfile import ZipInfo

from fsd.data.concept import numbered_folder
from fsd.data.names import PHOTO_SUFFIXES, is_silent, user_path
from fsd.data.safe_zip import SafeZip
from fsd.errors import SessionError

MAX_PHOTO_BYTES = 200 << 20
MAX_ZIP_BYTES = 20 << 30
_CLASS_IMAGE = "a class image in kohya's layout; put those into the session's class_images"

Source = str | Path | Sequence[str | Path] | Mapping[str, bytes]


@dataclass(frozen=True)
class Entry:
    """One content and how it is called. place: what it lies in, so that captions find their photos. fault: why not.

    concept: the folder of a concept that it belongs into; "" for none.
    """

    place: str
    name: str
    size_bytes: int
    read: Callable[[], bytes]
    fault: str = ""
    concept: str = ""

    @property
    def is_caption(self) -> bool:
        return self.name.lower().endswith(".txt")


@contextmanager
def opened(source: Source) -> Iterator[list[Entry]]:
    """Everything in the source but silent housekeeping, sorted; SessionError when it is missing or holds nothing."""
    with ExitStack() as stack:
        if isinstance(source, Mapping):
            entries = [entry for name, content in source.items() for entry in _uploaded(name, content, stack)]
            told = "the upload"
        else:
            paths: list[str | Path] = [source] if isinstance(source, str | Path) else list(source)
            found = [entry for path in paths for entry in _from_path(path, stack)]
            entries = list({(entry.place, entry.name): entry for entry in found}.values())
            told = str(paths[0]) if len(paths) == 1 else f"this list of {len(paths)} files"
        entries = sorted((e for e in entries if not is_silent(e.name)), key=lambda e: (e.place, e.name))
        if not entries:
            raise SessionError(f"there are no photos in {told}", "give a folder, files or a zip with your photos")
        yield entries


def captions_for(entries: list[Entry]) -> dict[tuple[str, str], Entry]:
    """The caption entries by (place, what their name says before ".txt")."""
    return {(entry.place, entry.name[:-4]): entry for entry in entries if entry.is_caption}


def caption_of(photo: Entry, captions: dict[tuple[str, str], Entry]) -> Entry | None:
    """The `.txt` beside a photo: NAME.SUFFIX.txt, or STEM.txt."""
    return captions.get((photo.place, photo.name)) or captions.get((photo.place, Path(photo.name).stem))


def _from_path(source: str | Path, stack: ExitStack) -> list[Entry]:
    if not isinstance(source, str | Path) or not str(source).strip():
        raise SessionError(f"{source!r} is not a path", "give a folder, files or a zip with your photos")
    path = user_path(source)
    if not path.exists():
        raise SessionError(f"there is no file or folder {path}", "check the path; is Drive mounted?")
    if path.is_dir():
        return [entry for inner in path.iterdir() for entry in _inside(inner, numbered_folder([path.name]))]
    if path.suffix.lower() == ".zip":
        return _zipped(stack.enter_context(SafeZip(path, MAX_ZIP_BYTES)))
    beside = [path.with_name(f"{path.stem}.txt"), path.with_name(f"{path.name}.txt")]
    texts = [] if path.suffix.lower() == ".txt" else [text for text in beside if text.is_file()]
    return [_on_disk(inner) for inner in (path, *texts)]


def _inside(path: Path, concept: str) -> list[Entry]:
    """What lies in a folder, itself that of a concept or not; what is in the folder of a concept comes along."""
    if path.is_dir() and (inner := numbered_folder([path.name])):
        return [replace(_on_disk(one), concept=inner) for one in path.iterdir()]
    return [replace(_on_disk(path), concept=concept)]


def _on_disk(path: Path) -> Entry:
    if path.is_file():
        return Entry(str(path.parent), path.name, path.stat().st_size, partial(_read, path))
    fault = "a folder; add it on its own, or call it 1_IDENTIFIER CLASS" if path.is_dir() else "not a file"
    return Entry(str(path.parent), path.name, 0, bytes, fault)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SessionError(f"cannot be read: {error.strerror}", "check its permissions") from None


def _zipped(archive: SafeZip) -> list[Entry]:
    members = [(PurePosixPath(member.filename), member) for member in archive.members]
    return [
        Entry(
            f"{archive.path}/{path.parent}", path.name, member.file_size, partial(_joined, archive, member),
            _CLASS_IMAGE if path.parts[-3:-2] == ("reg",) and numbered_folder(path.parts[-2:-1]) else "",
            numbered_folder(path.parts[:-1]),
        )
        for path, member in members
        if not is_silent(str(path))
    ]  # fmt: skip


def _joined(archive: SafeZip, member: ZipInfo) -> bytes:
    return b"".join(archive.chunks(member))


def _uploaded(name: str, content: bytes, stack: ExitStack) -> list[Entry]:
    """The upload itself, or what is in it when it is a zip."""
    if not isinstance(name, str) or not isinstance(content, bytes | bytearray | memoryview):
        fault = f"an upload is {{name: bytes}}, not {{{name!r}: {type(content).__name__}}}"
        raise SessionError(fault, "upload the photos again")
    path = PurePosixPath(name.replace("\\", "/"))
    fault = ""
    if path.suffix.lower() == ".zip":
        try:
            return _zipped(stack.enter_context(SafeZip(Path(path), MAX_ZIP_BYTES, BytesIO(content))))
        except SessionError as refusal:
            fault = refusal.message
    concept = numbered_folder(path.parts[:-1])
    return [Entry(str(path.parent), path.name, len(content), partial(bytes, content), fault, concept)]


def has_photo_suffix(name: str) -> bool:
    """Whether a file name ends like a photo's."""
    return Path(name).suffix.lower() in PHOTO_SUFFIXES
