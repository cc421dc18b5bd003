"""Names: which make a good session name, which files in a folder are photos, and what a file name says."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from fsd.errors import SessionError
from fsd.runtime.files import is_temporary

MAX_NAME_CHARACTERS = 64
MAX_NAME_BYTES = 200
"""Room for a suffix and a temporary mark within the 255 bytes that file systems allow a name."""

PHOTO_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs", ".bmp", ".dib"),
    *(".tif", ".tiff", ".heic", ".heics", ".heif", ".heifs", ".hif"),
}
SILENT = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".ipynb_checkpoints", "__macosx", ".fsd-heartbeat"})
"""What operating systems, notebooks and `runtime.heartbeat` leave in folders: passed over without a word."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
_HINT = "use letters, digits, spaces, '-' and '_', for example 'my-dog'"


def check_name(name: str) -> str:
    """The session name in Unicode form NFC; SessionError saying what is wrong with it."""
    if not isinstance(name, str):
        raise SessionError(f"a session name is text, not {name!r}", _HINT)
    name = unicodedata.normalize("NFC", name)
    if fault := _fault(name):
        raise SessionError(f"the session name {shortened(name)!r} {fault}", _HINT)
    return name


def is_plain(name: str) -> bool:
    """Whether a name can be that of a folder: without separators and control characters, and within 255 bytes."""
    if not isinstance(name, str) or name in ("", ".", "..") or has_control(name) or set(name) & set("/\\"):
        return False
    return len(name.encode("utf-8")) <= 255


def _fault(name: str) -> str:
    if not name.strip():
        return "is empty"
    if len(name) > MAX_NAME_CHARACTERS or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        return f"is {len(name)} characters long; {MAX_NAME_CHARACTERS} is the most, less for emoji"
    if ".." in name:
        return "holds '..'"
    if found := sorted(set(name) & set('/\\<>:"|?*')):
        return f"holds {found[0]!r}"
    if has_control(name):
        return "holds a control character"
    if name[0] in ". " or name[-1] in ". ":
        return "begins or ends with a dot or a space"
    if _RESERVED.fullmatch(name.split(".")[0].strip()):
        return "is reserved by Windows"
    return ""


def user_path(text: Path | str) -> Path:
    """The absolute path that somebody gave, with ~ as their home; SessionError when there can be nothing of that name."""
    file = None
    try:
        path = Path(text).expanduser().absolute()
        file = next((place for place in path.parents if place.is_file()), None)
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError, ValueError) as error:
        fault = error.strerror if isinstance(error, OSError) else error
        raise SessionError(f"{shortened(str(text), 80)!r} cannot be used: {fault}", "check the path") from None
    if file:
        raise SessionError(f"there can be nothing at {path}: {file} is a file, not a folder", "check the path")
    return path


def has_control(text: str) -> bool:
    """Whether a character is a control or half of a surrogate pair; joiners, as in emoji and Persian, are ordinary."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def shortened(text: str, length: int = 40) -> str:
    """The text, cut to `length` characters for an error message."""
    return text if len(text) <= length else text[: length - 1] + "…"


def is_silent(name: str) -> bool:
    """Whether a path is housekeeping of an operating system or a notebook, to be passed over without a word."""
    return any(part.lower() in SILENT or part.startswith("._") for part in Path(name).parts)


def photo_files(folder: Path) -> list[Path]:
    """The photos directly in a folder, by suffix, sorted by name; empty when there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_photo(path))


def _is_photo(path: Path) -> bool:
    named = path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")
    return named and not is_temporary(path) and path.is_file()


def file_words(name: str) -> str:
    """What a file name says: without suffix and copy number "(n)", with '-' and '_' as spaces; digits are kept.

    "sks_dog (3).jpg" says "sks dog"; "githubuser01946 (2).png" says "githubuser01946".
    """
    stem = Path(name).stem if Path(name).suffix.lower() in PHOTO_SUFFIXES else name
    stem = re.sub(r"\(\s*\d*\s*\)", " ", stem)
    return " ".join(re.sub(r"[-_()]+", " ", stem).split())


def identifier_in(names: list[str]) -> str:
    """The first word that all file names share, as the original suite named subjects; empty when they share none."""
    first = {words.split()[0] for name in names if (words := file_words(name))}
    return first.pop() if len(first) == 1 else ""
