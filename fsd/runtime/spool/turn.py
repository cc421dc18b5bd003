"""Whose turn it was last: whether another machine has written to a session since this machine's twin of it did.

A session on Drive is gone on with now here, now there. Each turn has a name of its own, which lies in the session; every
twin lists the turns that it knows of. A turn that it does not know was another machine's, and what lies in the twin is from
before it: no longer what training goes on from, and never to be brought over what that machine wrote.
"""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from pathlib import Path

from fsd.runtime import files
from fsd.runtime.spool.local_first import twin

TURN = ".turn.json"
_REMEMBERED = 50


def is_stale(session: Path) -> bool:
    """Whether another machine has written to a session's folder since this one did; False where Drive cannot tell."""
    local = twin(session)
    if local is None:
        return False
    last = _turns(session)[-1:]
    return bool(last) and last[0] not in _turns(local)


def claim(session: Path) -> None:
    """Begin a turn of this machine, whose lock the session must have. A session that never had a twin needs none."""
    local, last = twin(session), _turns(session)[-1:]
    if local is None and not last:
        return
    mine = uuid.uuid4().hex
    if local is not None:  # first: a turn that its own twin does not know would be taken for another machine's
        files.make_folder(local)
        files.write_json(local / TURN, [*_turns(local), *last, mine][-_REMEMBERED:])
    with suppress(OSError):  # a full or dead Drive stops nobody: the turn that it names stays one that this twin knows
        files.write_json(session / TURN, [mine])


def places(session: Path, inner: str) -> list[Path]:
    """Where a part of a session lies: in its folder, and in its local twin unless that is stale."""
    local = twin(session)
    return [session / inner] if local is None or is_stale(session) else [session / inner, local / inner]


def _turns(place: Path) -> list[str]:
    try:
        found = json.loads((place / TURN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(turn) for turn in found] if isinstance(found, list) else []
