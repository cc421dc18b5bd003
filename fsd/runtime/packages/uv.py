"""uv: found on the machine, or brought into the overlay; run in a clean environment, its errors in one sentence."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import report, secrets
from fsd.runtime.packages import overlay

WANTED = "uv>=0.5"
_LIMIT_S = 1800.0
_KEPT = re.compile(
    r"UV_(CACHE_DIR|.*INDEX.*|HTTP.*|SYSTEM_CERTS|NATIVE_TLS|OFFLINE|FIND_LINKS|CONCURRENT.*)|PIP_(EXTRA_)?INDEX_URL"
    r"|(?i:(https?|all|no)_proxy)"
)
_FOREIGN = re.compile(r"^(UV_.+|PYTHON(PATH|HOME|STARTUP|USERBASE)|VIRTUAL_ENV|CONDA_.+)$")
_USER = re.compile(r"(?<=//)[^/@\s]+@")


class UvFailed(MachineError):
    """uv ended with an error. why: its explanation in one line."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}", "check the network and run it again; fsd doctor shows what this machine is")
        self.why = why


def need_uv(wheels: Path | None = None) -> list[str]:
    """The command that runs uv; where there is none, it comes from a folder of wheels, else by pip, into the overlay."""
    if found := overlay.find_uv():
        return found
    here = sorted(wheels.glob("uv-*.whl")) if wheels else []
    if here:
        _unpack_program(here[-1])
    else:
        report.say("uv is not here: pip brings it")
        _by_pip()
    if found := overlay.find_uv():
        return found
    raise MachineError("uv is neither here nor could pip bring it", "install uv, then run setup again")


def run(what: str, arguments: list[str], wheels: Path | None = None) -> str:
    """Run `uv ARGUMENTS` and return its standard output; UvFailed with its explanation when it fails."""
    try:
        ended = subprocess.run(
            [*need_uv(wheels), *arguments], env=_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=_LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UvFailed(what, f"not done after {_LIMIT_S:.0f} s") from None
    except OSError as fault:
        raise UvFailed(what, f"uv cannot be run: {fault.strerror}") from fault
    if ended.returncode != 0:
        raise UvFailed(what, _why(ended.stderr))
    return ended.stdout


def settings() -> dict[str, str]:
    """The variables that say to uv where packages come from, and how."""
    return {name: value for name, value in os.environ.items() if _KEPT.match(name)}


def _environment() -> dict[str, str]:
    """This process's variables without what a runtime's image or another environment sets for its own uv and Python.

    Of secrets only logins of proxies and indexes, which uv and pip read from nowhere else.
    """
    ours = secrets.without(os.environ)
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    return {name: value for name, value in ours.items() if not _FOREIGN.match(name)} | kept


def _why(said: str) -> str:
    """uv's explanation in one line, without its frame and without what stands before an @ in an address."""
    text = re.sub(r"[│╰─▶├×]+", " ", re.sub(r"\x1b\[[\d;]*m", "", said))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("warning")]
    start = next((at for at, line in enumerate(lines) if line.startswith(("cause", "Because"))), None)
    chosen = lines[start:] if start is not None else lines[-3:]
    line = re.sub(r"\s+", " ", " ".join(chosen)).removeprefix("cause: ")
    return _USER.sub("", line)[:600] or "it said nothing"


def _by_pip() -> None:
    if not find_spec("pip"):
        raise MachineError("this Python has neither uv nor pip", "install uv, then run setup again")
    command = [sys.executable, "-m", "pip", "--python", str(overlay.python()), "install", "--quiet", WANTED]
    ended = subprocess.run(
        command, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or ["it did not say why"]
        raise MachineError(f"pip cannot bring uv: {_USER.sub('', said[-1])}", "check the network and run setup again")


def _unpack_program(wheel: Path) -> None:
    """Lay uv's program, which is all that its wheel holds of weight, into the overlay."""
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if name.endswith(".data/scripts/uv")), "")
        if name:
            program = overlay.python().with_name("uv")
            program.write_bytes(archive.read(name))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
