"""The machine given back to Colab when the work is done and safe: refused before the work where it cannot be."""

from __future__ import annotations

from fsd.data.session import Session
from fsd.errors import MachineError
from fsd.runtime import colab
from fsd.runtime.spool import safe
from fsd.runtime.spool.local_first import twin
from fsd.stage import take_turn


def need_to_give_back(session: Session, wanted: bool = True) -> None:
    """MachineError if a machine is to be given back that nobody takes, or that holds the only copy of the session."""
    if not wanted:
        return
    if not colab.in_colab():
        raise MachineError("only Colab takes a machine back, and this is none of Colab's", "run it without disconnect")
    if twin(session.folder) is None:
        told = f"{session.folder} is on this machine's disk and would be lost with it"
        raise MachineError(told, "open the session on Google Drive, or run it without disconnect")


def give_back(session: Session, ask_google: bool = False) -> None:
    """Give the machine back to Colab once everything of the session has the highest state there is.

    ask_google: ask for access to Drive's list of files; where it was given before, Google confirms all the same.
    MachineError, with the machine still there, where something does not get so far.
    """
    need_to_give_back(session)
    take_turn(session)
    safe.disconnect(safe.spool_of(session.folder, ask_google or colab.drive_is_open()), safe.WAIT_S)
