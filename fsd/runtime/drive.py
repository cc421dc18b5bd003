"""Google Drive as a folder: mounted with plain words for all that can go wrong, known when it is dead, never papered over.

Nothing here makes a folder under a mount point (see `files.make_folder`), and nothing falls back to another place by
itself: where there is no Drive the user chooses a folder with FSD_HOME, and hears that it is lost with the machine.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import colab, report
from fsd.runtime.patience import Patience

ANSWER_S = 30.0
"""How long a mount may take to say that it is there."""
MY_DRIVE, SHARED = "MyDrive", "Shareddrives"
_LOCAL_FOLDER = "set FSD_HOME to a folder to work without Drive (what is there is lost when Colab disconnects)"
_REMEDIES = {
    "already contain files": "files were written there before Drive was mounted: move that folder away and run again",
    "credential propagation": "run the cell again, allow pop-ups, and allow the access for the account you use in Colab",
    "timeout": "run the cell again: Drive is slow at first when its top folder holds many files",
    "domain policy": f"your organisation forbids it: use another account, or {_LOCAL_FOLDER}",
    "unsupported": f"this is not an ordinary Colab notebook: {_LOCAL_FOLDER}",
    "not supported": f"this is not an ordinary Colab notebook: {_LOCAL_FOLDER}",
    "must not be a symlink": f"remove the link that is there and run the cell again, or {_LOCAL_FOLDER}",
    "directory or not exist": f"remove the file that is there and run the cell again, or {_LOCAL_FOLDER}",
    "directory that exists": f"restart the runtime and run the cell again, or {_LOCAL_FOLDER}",
    "contain a space": f"report this; until then {_LOCAL_FOLDER}",
    "has no attribute": "only a notebook cell can mount Drive: run the cell 'Open session', then this command again",
}
"""What to do, by a part of what google.colab.drive says."""
_TOPS = {"mydrive": MY_DRIVE, "shareddrives": SHARED}

_warned: set[str] = set()


def home() -> Path:
    """Where sessions are kept: FSD_HOME if set, My Drive (mounted first) on Colab, the current folder elsewhere.

    A folder of Colab's own disk is said to be temporary. MachineError as for `place`, and when Drive cannot be mounted.
    """
    if chosen := os.environ.get("FSD_HOME"):
        folder = place(chosen)
        if colab.in_colab() and not on_drive(folder) and chosen not in _warned:
            _warned.add(chosen)
            report.say(f"TEMPORARY STORAGE: {chosen} is on this machine's disk, and ALL OF IT IS LOST when Colab ends")
            report.say("it. Download or export what you want to keep, or unset FSD_HOME to use Google Drive.")
        return folder
    return mount() if colab.in_colab() else Path.cwd()


def on_drive(path: Path) -> bool:
    """Whether a path is on the mounted Drive, by its name alone: a dead Drive is not touched."""
    return Path(os.path.abspath(path)).is_relative_to(colab.MOUNT_POINT)


def place(named: str) -> Path:
    """The folder that a name means: "My Drive/models" and "Shared drives/TEAM/models" as Drive's page shows them.

    Anything else is a path, and so is what begins with a folder that is here. MachineError where Drive cannot be mounted,
    and naming the shared drives there are, when there is none of that name.
    """
    parts = Path(named).parts
    top = _TOPS.get(parts[0].replace(" ", "").casefold()) if parts else None
    if not top or Path(parts[0]).exists():
        return Path(named)
    if not colab.in_colab():
        told = f"{named!r} is a place on Google Drive, which only Colab mounts, and this machine is none of Colab's"
        raise MachineError(told, f"give a folder of this machine; if {parts[0]!r} is to be one, make it first")
    root = mount()
    return root.joinpath(*parts[1:]) if top == MY_DRIVE else _shared(root.with_name(SHARED), parts[1:])


def mount() -> Path:
    """My Drive's folder, ready to be written to: mounted if it is not, and again if it is dead or read-only."""
    root = colab.MOUNT_POINT / MY_DRIVE
    found = state(root)
    if found == "not mounted":
        report.say("Google asks you to let this notebook use your Drive: sessions are kept there")
        _mount(force=False)
    elif found != "mounted":
        report.say(f"the connection to Google Drive was lost ({found}); mounting it again")
        _mount(force=True)
    found = state(root)
    if found == "read-only":
        raise MachineError(
            f"Google Drive is mounted at {colab.MOUNT_POINT}, but nothing can be written to it",
            f"restart the runtime and open the session again, or {_LOCAL_FOLDER}",
        )
    if found != "mounted":
        raise MachineError(
            f"Google Drive is mounted but {root} is not there ({found})", "restart the runtime and try again"
        )
    return root


def state(root: Path, timeout_s: float = ANSWER_S) -> str:
    """One of "mounted", "not mounted", "read-only", or why Drive is dead, such as "Transport endpoint is not connected"."""
    try:
        flags = Patience(timeout_s).run(lambda: root.stat() and os.statvfs(root).f_flag)
        return "read-only" if flags & os.ST_RDONLY else "mounted"
    except (FileNotFoundError, NotADirectoryError):
        return "not mounted"
    except TimeoutError as fault:
        return str(fault)
    except OSError as fault:  # errno 107, as when Drive's process has died, which it does after some hours
        return os.strerror(fault.errno or errno.ENOTCONN)


def _mount(force: bool) -> None:
    try:
        colab.mount_drive(colab.MOUNT_POINT, force)
    except Exception as fault:  # Colab's MessageError, ValueError, NotImplementedError and pexpect's errors
        said = colab.first_line(fault)
        otherwise = f"run the cell again and allow the access, or {_LOCAL_FOLDER}"
        hint = next((remedy for part, remedy in _REMEDIES.items() if part in said.lower()), otherwise)
        raise MachineError(f"Google Drive could not be mounted at {colab.MOUNT_POINT}: {said}", hint) from fault


def _shared(folder: Path, parts: tuple[str, ...]) -> Path:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        names = []
    wanted = parts[0] if parts else ""
    found = [name for name in names if name == wanted] or [n for n in names if n.casefold() == wanted.casefold()]
    if len(found) == 1:
        return folder.joinpath(found[0], *parts[1:])
    known = f"there are: {', '.join(names)}" if names else "this account sees none; ask its owner to add you"
    raise MachineError(f"there is no shared drive {wanted!r}", known)
