"""`fsd VERB`: a parser built from the verbs' own signatures and docstrings."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from fsd import __version__, models, pipeline, serving, upkeep
from fsd.data import session as sessions
from fsd.data.session import Session
from fsd.errors import FsdError, Interrupted
from fsd.needs import root_folder
from fsd.runtime import report
from fsd.runtime.process import missing_package

_FINISHED, _FAILED, _WRONG_USAGE, _STOPPED = 0, 1, 2, 75


class UsageError(FsdError):
    """A command line that cannot be understood."""

    code = "usage"


def verbs() -> dict[str, Callable[..., Any]]:
    """The verbs by their names on the command line, the line of work first.

    They are the public functions of `pipeline`, `upkeep`, `models` and `serving` that give back a Result or a Session.
    """
    return {
        name.replace("_", "-"): verb
        for module in (pipeline, upkeep, models, serving)
        for name, verb in vars(module).items()
        if inspect.isfunction(verb) and verb.__module__ == module.__name__ and not name.startswith("_")
        if verb.__annotations__.get("return") in ("Result", "Session")
    }


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 1 failed with a message, 2 wrong usage, 75 stopped and saved."""
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:  # as in `fsd families | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    if as_json:
        report.to_standard_error()
    try:
        options = _options(arguments)
        result = _call(verbs()[options.pop("verb")], options)
    except FsdError as fault:
        return _failed(fault, as_json)
    except KeyboardInterrupt:
        return _failed(Interrupted("stopped", "run the same command to go on"), as_json)
    except ModuleNotFoundError as fault:
        return _failed(missing_package(fault), as_json)
    except Exception as fault:  # not foreseen: people and bug reports need the traceback, programs their object
        if not as_json:
            raise
        traceback.print_exc()
        return _failed(FsdError(f"{type(fault).__name__}: {fault}", "report it with the lines above"), as_json)
    if as_json:
        report.say_json(_as_json(result))
    elif isinstance(result, report.Result):
        report.say(result.text)
    return _FINISHED


def _options(arguments: list[str]) -> dict[str, Any]:
    """The parsed command line; a verb's list of texts may stand before or after its options, or both."""
    parser = _parser()
    if "-".join(arguments[:2]) in verbs():  # `fsd webui launch` is `fsd webui-launch`
        arguments = ["-".join(arguments[:2]), *arguments[2:]]
    found, rest = parser.parse_known_args(arguments)
    options = vars(found)
    several = [p.name for p in _parameters(verbs()[options["verb"]]) if p.kind is p.VAR_POSITIONAL]
    if rest and (not several or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    for name in several:
        options[name] = [*options[name], *rest]
    return options


def _failed(fault: FsdError, as_json: bool) -> int:
    """Say what went wrong, to people on standard error and to programs on standard output; return the exit code."""
    names = "|".join(name.replace("-", "_") for name in verbs() if "-" in name and name != "base-model")
    fault.hint = re.sub(rf"\b({names})\b", lambda match: match[1].replace("_", "-"), fault.hint)
    print(f"fsd: {fault}", file=sys.stderr)
    if as_json:
        report.say_json(fault.to_json())
    return _STOPPED if isinstance(fault, Interrupted) else _WRONG_USAGE if isinstance(fault, UsageError) else _FAILED


def _call(verb: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Call a verb with parsed options: the session's name becomes the session."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in _parameters(verb):
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


def _spaced(verb: str) -> str:
    return f"fsd {verb.replace('-', ' ', 1)}"


class _Parser(argparse.ArgumentParser):
    """A parser whose faults are UsageErrors, so that they too come as one JSON object."""

    def error(self, message: str) -> NoReturn:
        if match := re.match(r"argument VERB: invalid choice: '(.*)' \(choose", message):
            if further := [name for name in verbs() if name.startswith(f"{match[1]}-")]:
                raise UsageError(f"fsd {match[1]} is only half a verb", f"one of: {', '.join(map(_spaced, further))}")
            close = get_close_matches(match[1], verbs(), n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"there is no verb {match[1]!r}", f"{meant}fsd --help lists all verbs")
        raise UsageError(message, f"{self.prog} --help explains it")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fsd",
        description="Ten photos become your own Stable Diffusion model.",
        epilog="fsd VERB --help explains one verb. Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped and saved.",
    )
    parser.add_argument("--version", action="version", version=f"fsd {__version__}")
    title = "verbs, in the order of the work"
    commands = parser.add_subparsers(title=title, dest="verb", metavar="VERB", required=True)
    for name, verb in verbs().items():
        summary, details = _documentation(verb)
        command = commands.add_parser(name, help=summary.split(". ")[0].rstrip("."), description=summary)
        for parameter in _parameters(verb):
            _add(command, parameter, details.get(parameter.name, ""))
        if any(parameter.annotation is Session for parameter in _parameters(verb)):
            command.add_argument(
                "--root", default="", help="the folder that holds Fast-Dreambooth/ (default: FSD_HOME or here)"
            )
        command.add_argument("--json", action="store_true", help="print one JSON object, last on standard output")
    return parser


def _add(command: argparse.ArgumentParser, parameter: inspect.Parameter, text: str) -> None:
    """One parameter as an argument: without a default positional, else an option."""
    kind, default = parameter.annotation, parameter.default
    kind = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
    option = "--" + parameter.name.replace("_", "-")
    if default not in (None, "", False, parameter.empty) and "default" not in text:
        text = f"{text.rstrip('.')} (default: {default})"
    if kind is Session:
        command.add_argument(parameter.name, metavar="SESSION", help="the session's name")
    elif parameter.kind is parameter.VAR_POSITIONAL:
        command.add_argument(parameter.name, nargs="*", metavar=parameter.name.upper().rstrip("S"), help=text)
    elif kind is bool:
        command.add_argument(option, action="store_true", help=text)
    elif default is parameter.empty:
        command.add_argument(parameter.name, type=kind, metavar=parameter.name.upper(), help=text)
    else:
        command.add_argument(option, type=kind, default=default, metavar=parameter.name.upper(), help=text)


def _parameters(verb: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    hints = typing.get_type_hints(verb)
    for name, parameter in inspect.signature(verb).parameters.items():
        yield parameter.replace(annotation=hints.get(name, str))


def _documentation(verb: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """A docstring's first sentence, and its "name: text" lines by name (a text may run over several lines)."""
    summary, _, rest = (inspect.getdoc(verb) or "").partition("\n")
    names = list(inspect.signature(verb).parameters)
    details: dict[str, str] = {}
    current: list[str] = []
    for line in rest.splitlines():
        head, colon, text = line.partition(": ")
        heads = head.split(", ")
        if colon and all(name in names for name in heads):
            current = heads
            details |= dict.fromkeys(heads, text)
        elif line.strip():
            details |= {name: f"{details[name]} {line.strip()}" for name in current}
    return summary, {name: text.replace("%", "%%") for name, text in details.items()}


if __name__ == "__main__":
    sys.exit(main())
