"""`fsd VERB`: one verb is called, and what it gives back or raises is said to people, or as JSON to programs."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from typing import Any

from fsd.command_line import UsageError, parameters_of, read_options, shown, verbs
from fsd.data import session as sessions
from fsd.data.session import Session
from fsd.errors import FsdError, Interrupted, MachineError, foreseen
from fsd.needs import root_folder
from fsd.runtime import report, stopping
from fsd.runtime.packages import overlay

_FINISHED, _FAILED, _WRONG_USAGE = 0, 1, 2


def answer(arguments: list[str]) -> int:
    """Run one verb and return the exit code of `fsd.__main__.main`."""
    try:
        return _run(arguments)
    except BrokenPipeError:  # as in `fsd families | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    if as_json:
        report.to_standard_error()
    try:
        with suppress(MachineError):  # a place that cannot be used: setup refuses it, the doctor tells
            overlay.activate()
        options = read_options(arguments)
        result = _call(verbs()[options.pop("verb")], options)
    except KeyboardInterrupt:
        return _failed(Interrupted("stopped", "run the same command to go on"), as_json)
    except Exception as fault:
        if known := foreseen(fault):
            return _failed(known, as_json)
        if not as_json:  # people and bug reports need the traceback, programs their object
            raise
        traceback.print_exc()
        return _failed(FsdError(f"{type(fault).__name__}: {fault}", "report it with the lines above"), as_json)
    if as_json:
        report.say_json(_as_json(result))
    elif isinstance(result, report.Result):
        report.say(result.text)
    return int(getattr(result, "exit_code", _FINISHED))


def _failed(fault: FsdError, as_json: bool) -> int:
    """Say what went wrong, to people on standard error and to programs on standard output; return the exit code."""
    fault.hint = _for_command_line(fault.hint)
    print(f"fsd: {fault}", file=sys.stderr)
    if as_json:
        report.say_json(fault.to_json())
    if isinstance(fault, Interrupted):
        return stopping.exit_code()
    return _WRONG_USAGE if isinstance(fault, UsageError) else _FAILED


def _for_command_line(hint: str) -> str:
    """A hint that names verbs and their parameters as Python does, "run webui_install first", as they are typed here."""
    names = {name.replace("-", "_"): name for name in verbs() if "-" in name and name != "base-model"}
    hint = re.sub(rf"(?<!fsd )\b({'|'.join(names)})\b", lambda match: f"fsd {shown(names[match[1]])}", hint)
    options = {parameter.name for verb in verbs().values() for parameter in parameters_of(verb)}
    return re.sub(rf"(?<![\w.])({'|'.join(options)})=(?=[\w.])", lambda match: f"--{match[1].replace('_', '-')} ", hint)


def _call(verb: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Call a verb with parsed options: the session's name becomes the session."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in parameters_of(verb):
        value = options[parameter.name]
        if parameter.annotation is Session:
            positional.append(sessions.open_session(root_folder(options["root"]), value))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value)
        else:
            named[parameter.name] = value
    return verb(*positional, **named)


def _as_json(result: Any) -> Any:
    if isinstance(result, Session):
        return sessions.describe(result)
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
