"""`fsd VERB`: a parser built from the verbs' own signatures and docstrings."""

from __future__ import annotations

import argparse
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from typing import Any

from fsd import __version__, pipeline
from fsd.data import session as sessions
from fsd.data.session import Session
from fsd.errors import FsdError, Interrupted
from fsd.runtime import report

_FINISHED, _FAILED, _STOPPED = 0, 1, 75


def verbs() -> dict[str, Callable[..., Any]]:
    """The public functions of the pipeline, in the order of the work, by their names on the command line."""
    functions = inspect.getmembers(pipeline, inspect.isfunction)
    own = [
        (name, verb) for name, verb in functions if verb.__module__ == pipeline.__name__ and not name.startswith("_")
    ]
    return {
        name.replace("_", "-"): verb for name, verb in sorted(own, key=lambda pair: pair[1].__code__.co_firstlineno)
    }


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 1 failed with a message, 2 wrong usage, 75 stopped and saved."""
    options = vars(_parser().parse_args(arguments))
    verb, as_json = verbs()[options.pop("verb")], options.pop("json")
    if as_json:
        report.to_standard_error()
    try:
        result = _call(verb, options)
    except FsdError as fault:
        if as_json:
            report.say_json(fault.to_json())
        print(f"fsd: {fault}", file=sys.stderr)
        return _STOPPED if isinstance(fault, Interrupted) else _FAILED
    except KeyboardInterrupt:
        print("fsd: stopped", file=sys.stderr)
        return _STOPPED
    if as_json:
        report.say_json(_as_json(result))
    elif isinstance(result, report.Result):
        report.say(result.text)
    return _FINISHED


def _call(verb: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Call a verb with parsed options: the session's name becomes the session."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in _parameters(verb):
        value = options[parameter.name]
        if parameter.annotation is Session:
            positional.append(
                sessions.open_session(pipeline.colab.home() if not options["root"] else options["root"], value)
            )
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value)
        else:
            named[parameter.name] = value
    return verb(*positional, **named)


def _as_json(result: Any) -> Any:
    if isinstance(result, Session):
        return sessions.describe(result)
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fsd",
        description="Ten photos become your own Stable Diffusion model. The verbs, in the order of the work:",
        epilog="fsd VERB --help explains one verb. Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped and saved.",
    )
    parser.add_argument("--version", action="version", version=f"fsd {__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in verbs().items():
        summary, details = _documentation(verb)
        command = commands.add_parser(name, help=summary, description=summary)
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
