"""uv: found on the machine, or brought into the overlay; run in a clean environment, its errors in one sentence."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import proxies, report, secrets
from fsd.runtime.packages import overlay
from fsd.runtime.packages.requirements import in_range
from fsd.runtime.process import STOP_WITH_PARENT

_RANGE = ">=0.10"
"""What names in an answer only those files that fit the machine."""
WANTED = f"uv{_RANGE}"
_LIMIT_S = 1800.0
_KEPT = re.compile(
    r"UV_(CACHE_DIR|TORCH_BACKEND|.*INDEX.*|HTTP.*|SYSTEM_CERTS|NATIVE_TLS|OFFLINE|FIND_LINKS|CONCURRENT.*)"
    r"|PIP_(EXTRA_)?INDEX_URL|(?i:(https?|all|no)_proxy)"
)
_FOREIGN = re.compile(r"^(UV_.+|PYTHON(PATH|HOME|STARTUP|USERBASE)|VIRTUAL_ENV|CONDA_.+)$")
_NEWS = re.compile(r"(Using|Resolved|Downloading|Downloaded|Prepared|Uninstalled|Installed|[-+~]) ")
"""How the lines begin that tell what uv does, not what went wrong."""
_FULL = "No space left on device"
_USER = re.compile(r"(?<=//)[^/@\s]+@")


class UvFailed(MachineError):
    """uv ended with an error. why: its explanation in one line."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}", _what_to_do(why))
        self.why = why


def _what_to_do(why: str) -> str:
    """What helps against what stopped uv or pip: room on the disk, another proxy, or a network."""
    if _FULL in why:
        return "free space on that disk, or set FSD_OVERLAY to a folder on a larger one"
    return proxies.remedy() or "check the network and run it again; fsd doctor shows what this machine is"


def need_uv(wheels: Path | None = None) -> list[str]:
    """The command that runs uv; where there is none, it comes from a folder of wheels, else by pip, into the overlay."""
    if found := _recent():
        return found
    here = sorted(wheels.glob("uv-*.whl")) if wheels else []
    if here:
        _unpack_program(here[-1])
    else:
        _by_pip()
    if found := _recent():
        return found
    raise MachineError(f"{WANTED} is neither here nor could pip bring it", "install it, then run setup again")


def run(
    what: str,
    arguments: list[str],
    wheels: Path | None = None,
    heard: Callable[[str], None] = lambda line: None,
    limit_s: float = _LIMIT_S,
) -> str:
    """Run `uv ARGUMENTS` and return what it said, telling `heard` each line at once; UvFailed with its explanation if it fails.

    wheels: a folder that uv itself may be taken from.
    """
    command, lines = [*need_uv(wheels), *arguments], []
    try:
        child = subprocess.Popen(
            command, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", preexec_fn=STOP_WITH_PARENT,
        )  # fmt: skip
    except OSError as fault:
        raise UvFailed(what, f"uv cannot be run: {fault.strerror}") from fault
    late = threading.Timer(limit_s, child.kill)
    late.start()
    try:
        for line in child.stdout or ():
            lines.append(line)
            heard(line)
        child.wait()
        in_time = late.is_alive()
    finally:  # Ctrl-C comes here too
        late.cancel()
        child.kill()
        child.wait()
    if not in_time:
        raise UvFailed(what, f"not done after {limit_s:.0f} s")
    if child.returncode != 0:
        raise UvFailed(what, _why("".join(lines)))
    return "".join(lines)


def is_recent(command: list[str]) -> bool:
    """Whether a command runs, and is a uv that can do what is asked of it here."""
    try:
        ended = subprocess.run(
            [*command, "--version"], env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError:  # no program, or one for another processor
        return False
    found = re.match(r"uv (\d[\w.]*)", ended.stdout)
    return bool(found and in_range(found[1], _RANGE))


def _recent() -> list[str]:
    return next((command for command in overlay.every_uv() if is_recent(command)), [])


def settings() -> dict[str, str]:
    """The variables that say to uv where packages come from, and how."""
    return {name: value for name, value in os.environ.items() if _KEPT.match(name)}


def _environment() -> dict[str, str]:
    """This process's variables without what a runtime's image or another environment sets for its own uv and Python.

    Of secrets only logins of proxies and indexes, which uv and pip read from nowhere else. What uv keeps for later goes to
    the overlay's disk, where that was chosen.
    """
    ours = secrets.without(os.environ)
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    own = {"UV_CACHE_DIR": str(overlay.folder().parent / "uv")} if os.environ.get("FSD_OVERLAY") else {}
    return own | {name: value for name, value in ours.items() if not _FOREIGN.match(name)} | kept


def _why(said: str) -> str:
    """uv's explanation in one line, without its frame and without what stands before an @ in an address."""
    text = re.sub(r"[│╰─▶├×]+", " ", re.sub(r"\x1b\[[\d;]*m", "", said))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("warning")]
    whole = re.sub(r"\s+", " ", " ".join(line for line in lines if not _NEWS.match(line)))
    _, because, reason = whole.partition("Because")
    line = because + reason or whole.removeprefix("error: ").replace(" cause:", ":")
    return _USER.sub("", line)[:600] or "it said nothing"


def _by_pip() -> None:
    if not find_spec("pip"):
        raise MachineError(f"this Python has neither pip nor {WANTED}", "install uv, then run setup again")
    report.say(f"{WANTED} is not here: pip brings it")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(overlay.python()),
        "install",
        "--quiet",
        "--ignore-installed",
        WANTED,
    ]
    ended = subprocess.run(
        command, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if ended.returncode != 0:
        why = _why_of_pip(ended.stderr)
        raise MachineError(
            f"uv, which installs the packages, is not here, and pip cannot bring it: {why}", _what_to_do(why)
        )


def _why_of_pip(said: str) -> str:
    """pip's explanation in one line; where it reached nobody its last line tells of the package alone."""
    if "connection broken by" in said:
        found = re.search(r"\[Errno -?\d+\] ([\w ]+)", said)
        return f"no registry of packages can be reached{f' ({found[1]})' if found else ''}"
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or ["it did not say why"]
    full = next((line for line in lines if _FULL in line), lines[-1])
    return _USER.sub("", full.removeprefix("ERROR: "))


def _unpack_program(wheel: Path) -> None:
    """Lay uv's program, which is all that its wheel holds of weight, into the overlay."""
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if name.endswith(".data/scripts/uv")), "")
        if name:
            program = overlay.python().with_name("uv")
            program.write_bytes(archive.read(name))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
