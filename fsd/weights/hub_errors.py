"""What went wrong at the hub, and what to do about it: no token, licence not accepted, gone, too many requests."""

from __future__ import annotations

import errno
import os

from fsd.errors import DownloadError, FsdError, MachineError
from fsd.families import FAMILIES
from fsd.families.family import Source
from fsd.runtime import proxies, secrets


class HubUnreachable(DownloadError):
    """The hub cannot be reached at all: asking it for another repository would fail alike."""


def hub_error(source: Source, fault: Exception) -> FsdError:
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
    if kinds & {"LocalEntryNotFoundError", "TransportError", "ConnectionError"}:
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in {"", "0"}
        hint = (
            "unset HF_HUB_OFFLINE" if offline else proxies.remedy(hub_address()) or "check the connection and run again"
        )
        proxy = "" if offline else proxies.variable(hub_address())
        through = f" through the proxy of {proxy}" if proxy else ""
        return HubUnreachable(f"{name} is not on this machine and the hub cannot be reached{through}", hint)
    if status == 429:
        hint = f"wait some minutes, or {secrets.how_to_sign_in(page)}"
        return DownloadError(f"the hub has had too many requests ({name})", hint)
    if isinstance(fault, OSError) and fault.errno:
        first = "make room" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else "see that you may write"
        hint = f"{first} where HF_HOME is (by itself ~/.cache/huggingface), or set it to a folder on another disk"
        return MachineError(f"{name} could not be stored: {fault.strerror}", hint)
    what = f"{name} could not be fetched: {type(fault).__name__}" + (f" {status}" if status else "")
    return DownloadError(what, "run again: it goes on where it stopped")


def need_way_to_hub() -> None:
    """HubUnreachable when the proxy on the way to the hub cannot be one."""
    if wrong := proxies.fault(hub_address()):
        raise HubUnreachable(f"the hub cannot be reached: {wrong}", proxies.remedy(hub_address()))


def hub_address() -> str:
    """Where the hub is, or the mirror of it that was chosen."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def mirrors(repository: str) -> str:
    """The families that hold the model of a repository, or of one of the same name elsewhere, as a sentence; or ""."""
    last = repository.rpartition("/")[2].lower()
    found = [
        f"{family.name} (tries {', '.join(dict.fromkeys(source.repository for source in family.sources))})"
        for family in FAMILIES.values()
        if any(last == source.repository.rpartition("/")[2].lower() for source in family.sources)
    ]
    return f"fsd knows this model as {' or '.join(found)}" if found else ""
