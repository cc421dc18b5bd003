"""A second home for a model: a private repository on the hub. Nothing counts as sent before the hub has told its hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fsd.errors import FsdError, MachineError, UploadError
from fsd.families.family import Source
from fsd.runtime import files, report, secrets
from fsd.weights import links
from fsd.weights.hub_errors import HubUnreachable, hub_error

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Sent:
    """A file that the hub confirmed. there_already: whether it was, before anything was sent."""

    name: str
    size_bytes: int
    sha256: str
    there_already: bool

    def to_json(self) -> dict[str, Any]:
        """Its fields as plain JSON values."""
        return asdict(self)


class SecondHome:
    """A private repository, made if there is none; UploadError with what to do when the hub refuses, or it is public.

    client: an HfApi.
    """

    def __init__(self, repository: str, client: Any = None) -> None:
        self.repository = _named(repository)
        with _told(self.repository):
            self._hub = client or _client()
            self._hub.create_repo(self.repository, private=True, exist_ok=True)
            _need_private(self._hub, self.repository)

    def send(self, contents: Mapping[str, Path | bytes]) -> list[Sent]:
        """Put files there, and read back from the hub what it holds of each; what is there already is not sent again.

        contents: name there -> file or bytes. UploadError when the hub refuses, or holds something else afterwards.
        """
        with _told(self.repository):
            return [_send_one(self._hub, self.repository, name, content) for name, content in contents.items()]


def _named(text: str) -> str:
    """The OWNER/NAME that a text or the link of a repository's page names."""
    found = links.read_link(text) if links.is_link(text) else None
    name = found.repository if isinstance(found, Source) else text.strip("/ ")
    if not _NAME.fullmatch(name):
        hint = "write OWNER/NAME, such as me/cup, where OWNER is your name on the hub"
        raise UploadError(f"{text!r} names no repository on the hub", hint)
    return name


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """The hub's faults in our words."""
    try:
        yield
    except FsdError:
        raise
    except Exception as fault:  # the hub's own errors, its HTTP client's and the disk's
        raise _refused(repository, fault) from None


def _refused(repository: str, fault: Exception) -> FsdError:
    """What it means that the hub did not take it; never the hub's own text, which may hold addresses and tokens."""
    status = getattr(getattr(fault, "response", None), "status_code", None)
    if status in (401, 403):
        hint = f"the token needs the right to write there: {_how_to_sign_in()}"
        return UploadError(f"the hub does not let this token write to {repository} ({status})", hint)
    known = hub_error(Source(repository), fault)
    if isinstance(known, HubUnreachable):
        told = f"{repository} could not be written: the hub cannot be reached"
        return UploadError(told, f"{known.hint}; what arrived whole is not sent again")
    if isinstance(known, MachineError):
        told = f"what is to be sent to {repository} cannot be read: {getattr(fault, 'strerror', '')}"
        return MachineError(told, "check this machine's disk, then run it again")
    what = f"{type(fault).__name__}{f' {status}' if status else ''}"
    return UploadError(f"{repository} could not be written: {what}", "run it again: what arrived whole stays")


def _how_to_sign_in() -> str:
    return secrets.how_to_sign_in("https://huggingface.co")


def _client() -> Any:
    token = secrets.token("HF_TOKEN")
    if not token:
        told = "there is no token to write to the hub with"
        raise MachineError(told, f"it needs the right to write: {_how_to_sign_in()}")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise MachineError("huggingface_hub is not installed", "fsd setup train") from None
    disable_progress_bars()
    return HfApi(token=token)


def _need_private(hub: Any, repository: str) -> None:
    if hub.model_info(repository).private is not True:
        hint = "choose another name, or make it private on its page"
        raise UploadError(f"{repository} is public: your model would be everybody's", hint)


def _send_one(hub: Any, repository: str, name: str, content: Path | bytes) -> Sent:
    size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
    sha256 = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else files.sha256(content)
    expected = size_bytes, {sha256, _git_id(content, size_bytes)}
    if _is_there(hub, repository, name, expected):
        return Sent(name, size_bytes, sha256, True)
    report.say(f"{name}: sending {report.human_bytes(size_bytes)}")
    where = content if isinstance(content, bytes) else str(content)
    hub.upload_file(path_or_fileobj=where, path_in_repo=name, repo_id=repository)
    if not _is_there(hub, repository, name, expected):
        hint = "run it again: what arrived whole is not sent twice; keep your own copy until it is confirmed"
        raise UploadError(f"{repository} does not hold {name} as it was sent", hint)
    return Sent(name, size_bytes, sha256, False)


def _is_there(hub: Any, repository: str, name: str, expected: tuple[int, set[str]]) -> bool:
    """Whether the hub holds a file of that size and hash: SHA-256 of large files, git's own of small ones."""
    size_bytes, hashes = expected
    for file in hub.get_paths_info(repository, [name]):
        large = getattr(file, "lfs", None)
        found = large.sha256 if large else getattr(file, "blob_id", "")
        return file.size == size_bytes and found in hashes
    return False


def _git_id(content: Path | bytes, size_bytes: int) -> str:
    """git's hash of a file: SHA-1 over its length and bytes."""
    sum_ = hashlib.sha1(f"blob {size_bytes}\0".encode(), usedforsecurity=False)
    if isinstance(content, bytes):
        sum_.update(content)
    else:
        with content.open("rb") as stream:
            while piece := stream.read(1 << 20):
                sum_.update(piece)
    return sum_.hexdigest()
