"""The command line: a parser built from the verbs' own signatures and docstrings."""

from __future__ import annotations

import argparse
import inspect
import typing
from collections.abc import Callable
from typing import Any, NoReturn

from fsd import __version__
from fsd.data.session import Session
from fsd.errors import meant
from fsd.verb_names import UsageError, documentation, parameters_of, shown, verb_of, verbs

_FIRST = "first_word"
"""Where a parsed line holds the first option's value that came without its name."""


def read_options(arguments: list[str]) -> dict[str, Any]:
    """The parsed command line, with its "verb": `clean-session`, `session clean` and `clean session` name the same one.

    A verb's list of texts may stand before or after its options, or both. The first option of a verb without arguments
    may come without its name. What an option is given may begin with a dash. UsageError with what was meant.
    """
    verb, given = verb_of(arguments)
    if not verb:
        return vars(parser().parse_args(arguments))
    found, rest = parser().parse_known_args([shown(verb), *_joined(verb, given)])
    options = vars(found) | {"verb": verb}
    parameters = list(parameters_of(verbs()[verb]))
    several = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    first = _first_option(parameters)
    words = [*filter(None, [options.pop(_FIRST, "")]), *(text for text in rest if not text.startswith("-"))]
    wrong = [text for text in rest if text.startswith("-")]
    if not wrong and several:
        options[several[0]] = [*options[several[0]], *words]
        words = []
    elif words and first and options[first.name] == first.default:
        options[first.name] = words.pop(0)
    if wrong or words:
        raise _not_understood(verb, wrong, words, rest if wrong else words)
    return options


def _first_option(parameters: list[inspect.Parameter]) -> inspect.Parameter | None:
    """The option that may come without its name, if a verb has one."""
    return next((one for one in parameters[:1] if isinstance(one.default, str)), None)


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


def _not_understood(verb: str, wrong: list[str], words: list[str], rest: list[str]) -> UsageError:
    """What to say of options that are unknown, or else of words that have no place."""
    likely = _meant_option(verb, wrong[0]) if wrong else _meant_word(verb, words[0])
    return UsageError(f"not understood: {' '.join(rest)}", f"{likely}fsd {shown(verb)} --help explains it")


def _meant_option(verb: str, wrong: str) -> str:
    """A sentence on the option that is like an unknown one, if any."""
    name, parameters = wrong.lstrip("-").partition("=")[0], list(parameters_of(verbs()[verb]))
    if placed := [p for p in parameters if _is_placed(p) and p.name.startswith(name.replace("-", "_"))]:
        return f"{_metavar(placed[0])} is given without a name. "
    options = [_option(p.name).lstrip("-") for p in parameters if not _is_placed(p)]
    return meant(name, options).replace("mean ", "mean --")


def _meant_word(verb: str, word: str) -> str:
    """A sentence on the option that a stray word may be the value of, or on the words that the verb takes."""
    first, *more = parameters = list(parameters_of(verbs()[verb]))
    if takes := [p for p in more if not _is_placed(p) and _fits(word, p)]:
        return f"did you mean {_option(takes[0].name)} {word}? "
    placed = [p for p in parameters if _is_placed(p)] or [p for p in (first,) if _kind(p) is str]
    quotes = ", with quotes around what has spaces" if placed else ""
    return f"write {' '.join(['fsd', shown(verb), *map(_metavar, placed)])}{quotes}. "


def _is_placed(parameter: inspect.Parameter) -> bool:
    """Whether an argument is known by its place, not by a name."""
    return parameter.kind is parameter.VAR_POSITIONAL or parameter.default is parameter.empty


def _fits(word: str, parameter: inspect.Parameter) -> bool:
    """Whether a stray word may be an option's value."""
    numeric = word.replace(".", "", 1).isdigit()
    return (_kind(parameter) in (int, float) if numeric else _kind(parameter) is str) and parameter.name != "root"


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
        "Exit codes: 0 done, 1 failed, 2 wrong usage; stopped, with all saved: 130 by Ctrl-C, 143 by SIGTERM.",
    )
    whole.add_argument("--version", action="version", version=f"fsd {__version__}")
    title = "verbs, in the order of the work"
    commands = whole.add_subparsers(title=title, dest="verb", metavar="VERB", required=True)
    for name, verb in verbs().items():
        summary, more, details = documentation(verb)
        command = commands.add_parser(
            shown(name), help=summary.split(". ")[0].rstrip("."), description=f"{summary} {more}".strip()
        )
        parameters = list(parameters_of(verb))
        first = _first_option(parameters)
        for parameter in parameters:
            bare = parameter == first and parameter.name != "root"
            _add(command, parameter, details.get(parameter.name, ""), bare)
        if any(parameter.annotation is Session for parameter in parameters):
            root = documentation(verbs()["open-session"])[2]["root"]
            command.add_argument("--root", default="", metavar="ROOT", help=root)
        command.add_argument("--json", action="store_true", help="print one JSON object, last on standard output")
    return whole


def _add(command: argparse.ArgumentParser, parameter: inspect.Parameter, text: str, bare: bool) -> None:
    """One parameter as an argument: without a default positional, else an option. bare: shown without its name."""
    kind, default, option, metavar = _kind(parameter), parameter.default, _option(parameter.name), _metavar(parameter)
    if default not in (None, "", parameter.empty) and kind is not bool and "default" not in text:
        text = f"{text.rstrip('.')} (default: {default})."
    text = text.replace("%", "%%")
    if kind is Session:
        command.add_argument(parameter.name, metavar=metavar, help="the session's name")
    elif parameter.kind is parameter.VAR_POSITIONAL:
        command.add_argument(parameter.name, nargs="*", default=[], metavar=metavar, help=text)
    elif kind is bool:
        command.add_argument(option, action="store_true", help=text)
    elif default is parameter.empty:
        command.add_argument(parameter.name, type=_READ.get(kind, kind), metavar=metavar, help=text)
    else:
        told = argparse.SUPPRESS if bare else text
        command.add_argument(option, type=_READ.get(kind, kind), default=default, metavar=metavar, help=told)
        if bare:
            told = f"{text} Also as {option} {metavar}."
            command.add_argument(_FIRST, nargs="?", default="", metavar=metavar, help=told)


def _number(kind: type, called: str) -> Callable[[str], Any]:
    """What reads a number, and says of any other word what it is not."""

    def read(word: str) -> Any:
        try:
            return kind(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word!r} is not {called}") from None

    return read


_READ = {int: _number(int, "a whole number"), float: _number(float, "a number")}


def _kind(parameter: inspect.Parameter) -> type:
    """A parameter's type, of `int | None` the int."""
    kinds = [part for part in typing.get_args(parameter.annotation) if part is not type(None)]
    return kinds[0] if kinds else parameter.annotation


def _metavar(parameter: inspect.Parameter) -> str:
    """What help calls a parameter's value."""
    name = "SESSION" if parameter.annotation is Session else parameter.name.upper()
    return name.rstrip("S") if parameter.kind is parameter.VAR_POSITIONAL else name


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
