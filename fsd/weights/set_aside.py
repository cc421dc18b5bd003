"""What is left in a local twin when another machine has gone on with the session: kept, under a name of its own."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fsd.runtime import files, report
from fsd.runtime.sealing import MANIFEST, discard
from fsd.runtime.spool.local_first import twin
from fsd.runtime.spool.safe import spooling
from fsd.runtime.spool.spool import Spool
from fsd.runtime.spool.state import CONFIRMED, WRITTEN
from fsd.runtime.spool.turn import claim, is_stale
from fsd.weights import checkpoint

ASIDE = "set_aside"


@contextmanager
def taking_turn(session: Path) -> Iterator[Spool]:
    """Be the last to have written to a session, which must be locked, and bring to Drive what is added meanwhile.

    What only a stale twin holds goes to SESSION/set_aside/TIME first, on Drive too, and is said.
    """
    if is_stale(session):
        _clear(session)
    claim(session)
    with spooling(session) as spool:
        yield spool


def kept(session: Path) -> list[tuple[Path, int]]:
    """The folders that were set aside in a session, and the bytes that each holds, on Drive and here together."""
    tops = [place / ASIDE for place in (session, twin(session)) if place and (place / ASIDE).is_dir()]
    found = [(path.name, files.size_bytes(path)) for top in tops for path in top.iterdir()]
    return [(session / ASIDE / name, sum(size for one, size in found if one == name)) for name in sorted(dict(found))]


def drop(session: Path, name: str) -> int:
    """Delete one of them everywhere; return the bytes freed."""
    spool = Spool(session)
    for item in spool.items():
        if item.name.startswith(f"{ASIDE}/{name}/"):
            spool.forget(item.name)
    return sum(files.remove_folder(place / ASIDE / name) for place in (session, twin(session)) if place)


def _clear(session: Path) -> None:
    local, spool = twin(session), Spool(session)
    assert local is not None
    known = {item.name: item.state for item in spool.items()}
    place = f"{ASIDE}/{datetime.now(UTC):%Y%m%d-%H%M%S}"
    kept = []
    for name in _names(local):
        if _is_needless(session, local, name, known.get(name, "")):
            spool.forget(name)
            _remove(local / name)
        else:
            files.make_folder((local / place / name).parent)
            os.rename(local / name, local / place / name)
            spool.forget(name)
            kept.append(name)
    for name in _aside(local):  # also of a time that was interrupted here
        if name not in known:
            spool.add(name)
    report.say(
        f"another machine has written to session {session.name!r} since this one did: what it wrote is gone on from"
    )
    if kept:
        report.say(f"what was only on this machine's disk is kept in {session / place}: {', '.join(kept)}")


def _names(local: Path) -> list[str]:
    """What lies in a twin: its files, and what its folders hold; what was set aside already, and housekeeping, left out."""
    found = [path for path in local.glob("[!.]*") if path.is_file()]
    found += [path for path in local.glob("[!.]*/[!.]*") if path.parent.name != ASIDE]
    return sorted(path.relative_to(local).as_posix() for path in found)


def _aside(local: Path) -> list[str]:
    found = [path for path in local.glob(f"{ASIDE}/*/*") if path.is_file()] + [*local.glob(f"{ASIDE}/*/*/*")]
    return sorted(path.relative_to(local).as_posix() for path in found)


def _is_needless(session: Path, local: Path, name: str, state: str) -> bool:
    """Whether nothing is lost with the local copy: Drive has it, or had it and has what came after it."""
    there, here = session / name, local / name
    if state == CONFIRMED or _same(here, there):
        return True
    if here.is_dir():
        return state == WRITTEN and checkpoint.is_superseded(session / "checkpoints", here.name)
    return state == WRITTEN and there.is_file()


def _same(here: Path, there: Path) -> bool:
    if here.is_dir():
        here, there = here / MANIFEST, there / MANIFEST  # which lists every file's SHA-256
    return here.is_file() and there.is_file() and filecmp.cmp(here, there, shallow=False)


def _remove(path: Path) -> None:
    discard(path) if path.is_dir() else path.unlink()
