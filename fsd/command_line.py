"""The command line: a parser built from the verbs' own signatures and docstrings."""

from __future__ import annotations

import argparse
import inspect
import typing
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, NoReturn

from fsd import __version__, demo, job_file, models, pictures, pipeline, planning, serving, sharing, upkeep
from fsd.data.session import Session
from fsd.errors import FsdError, meant

MODULES = (pipeline, pictures, planning, demo, job_file, upkeep, sharing, models, serving)
"""Where the verbs are, in the order in which help lists them: the line of work first."""


class UsageError(FsdError):
    """A command line that cannot be understood."""

    code = "usage"


def verbs() -> dict[str, Callable[..., Any]]:
    """The verbs by their names on the command line: the public functions of MODULES that return a Result or a Session."""
    return {
        name.replace("_", "-"): verb
        for module in MODULES
        for name, verb in vars(module).items()
        if inspect.isfunction(verb) and verb.__module__ == module.__name__ and not name.startswith("_")
        if verb.__annotations__.get("return") in ("Result", "Session")
    }


def shown(verb: str) -> str:
    """A verb as people read it: those of `serving` are a thing and what is done with it, "webui launch"."""
    return verb.replace("-", " ", 1) if verbs()[verb].__module__ == serving.__name__ else verb


def read_options(arguments: list[str]) -> dict[str, Any]:
    """The parsed command line, with its "verb": `clean-session`, `session clean` and `clean session` name the same one.

    A verb's list of texts may stand before or after its options, or both. The first option of a verb without arguments
    may come without its name. What an option is given may begin with a dash. UsageError with what was meant.
    """
    verb, given = _verb_of(arguments)
    if not verb:
        return vars(parser().parse_args(arguments))
    found, rest = parser().parse_known_args([shown(verb), *_joined(verb, given)])
    options = vars(found) | {"verb": verb}
    parameters = list(parameters_of(verbs()[verb]))
    several = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    first = next((one for one in parameters[:1] if isinstance(one.default, str)), None)
    words = [text for text in rest if not text.startswith("-")]
    if rest and rest == words and several:
        options[several[0]] = [*options[several[0]], *rest]
    elif rest == words and len(rest) == 1 and first and options[first.name] == first.default:
        options[first.name] = rest[0]
    elif rest:
        raise _not_understood(verb, rest, words)
    return options


def _verb_of(arguments: list[str]) -> tuple[str, list[str]]:
    """The verb that the arguments begin with, and the rest; "" when they ask for help. UsageError for what is no verb."""
    for words in (2, 1):
        if (name := "-".join(arguments[:words])) in verbs():
            return name, arguments[words:]
    said = _halves("-".join(arguments[:2]))
    meant_too = [name for name in verbs() if len(said) == 2 and sorted(_halves(name)) == sorted(said)]
    if len(meant_too) == 1:
        return meant_too[0], arguments[2:]
    first = arguments[0] if arguments else ""
    if not first or first.startswith("-"):
        return "", arguments
    two = "-".join(arguments[:2])
    halves = [name for name in verbs() if "-" in name and _halves(first)[0] in _halves(name)]
    if halves and arguments[1:2] in (["-h"], ["--help"]):
        lines = [(f"fsd {shown(name)}", _documentation(verbs()[name])[0]) for name in halves]
        print("\n".join(f"{command:24}{summary}" for command, summary in lines))
        raise SystemExit(0)
    if halves and (not arguments[1:] or arguments[1].startswith("-")):
        several = ", ".join(f"fsd {shown(name)}" for name in halves)
        raise UsageError(f"fsd {first} is only half a verb", f"one of: {several}")
    close = get_close_matches(two, verbs(), n=1, cutoff=0.7) or get_close_matches(first, verbs(), n=1)
    likely = f"did you mean fsd {shown(close[0])}? " if close else ""
    raise UsageError(
        f"there is no verb {two.replace('-', ' ', 1) if halves else first!r}", f"{likely}fsd --help lists all verbs"
    )


def _halves(name: str) -> list[str]:
    """The words of a verb in the singular, so that `session list` is list-sessions too."""
    return [word.removesuffix("s") for word in name.split("-")]


def _joined(verb: str, given: list[str]) -> list[str]:
    """The arguments with `--flags --medvram` as `--flags=--medvram`: argparse takes what begins with a dash for an option."""
    texts = {_option(p.name) for p in parameters_of(verbs()[verb]) if p.annotation is str}
    known = {_option(p.name) for p in parameters_of(verbs()[verb])} | {"--root", "--json", "--help"}
    joined: list[str] = []
    for text in given:
        if joined and joined[-1] in texts and text.startswith("--") and text.partition("=")[0] not in known:
            joined[-1] += f"={text}"
        else:
            joined.append(text)
    return joined


def _not_understood(verb: str, rest: list[str], words: list[str]) -> UsageError:
    options = [_option(p.name) for p in parameters_of(verbs()[verb])]
    wrong = next((text for text in rest if text not in words), "")
    return UsageError(
        f"not understood: {' '.join(rest)}", f"{meant(wrong, options)}fsd {shown(verb)} --help explains it"
    )


class _Parser(argparse.ArgumentParser):
    """A parser whose faults are UsageErrors, so that they too come as one JSON object."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help explains it")


def parser() -> argparse.ArgumentParser:
    """The whole parser; each verb has one of its own by the name that `shown` gives."""
    whole = _Parser(
        prog="fsd",
        description="Ten photos become your own Stable Diffusion model.",
        epilog="fsd VERB --help explains one verb; its words may change places: fsd session clean. "
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped and saved.",
    )
    whole.add_argument("--version", action="version", version=f"fsd {__version__}")
    title = "verbs, in the order of the work"
    commands = whole.add_subparsers(title=title, dest="verb", metavar="VERB", required=True)
    for name, verb in verbs().items():
        summary, details = _documentation(verb)
        command = commands.add_parser(shown(name), help=summary.split(". ")[0].rstrip("."), description=summary)
        for parameter in parameters_of(verb):
            _add(command, parameter, details.get(parameter.name, ""))
        if any(parameter.annotation is Session for parameter in parameters_of(verb)):
            command.add_argument(
                "--root", default="", help="the folder that holds Fast-Dreambooth/ (default: FSD_HOME or here)"
            )
        command.add_argument("--json", action="store_true", help="print one JSON object, last on standard output")
    return whole


def _add(command: argparse.ArgumentParser, parameter: inspect.Parameter, text: str) -> None:
    """One parameter as an argument: without a default positional, else an option."""
    kind, default = parameter.annotation, parameter.default
    kind = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
    option = _option(parameter.name)
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


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def parameters_of(verb: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """A verb's parameters with their types."""
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
