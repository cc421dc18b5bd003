"""The verbs by their names on the command line, and which one a line of words means."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

from fsd import captioning, demo, job_file, models, pictures, pipeline, planning, serving, sharing, training, upkeep
from fsd.errors import FsdError

MODULES = (pipeline, captioning, training, pictures, planning, demo, job_file, upkeep, sharing, models, serving)
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


def verb_of(arguments: list[str]) -> tuple[str, list[str]]:
    """The verb that the arguments begin with, and the rest; "" when they ask for help. UsageError for what is no verb."""
    for words in (2, 1):
        if (name := "-".join(arguments[:words])) in verbs():
            return name, arguments[words:]
    said = words_of("-".join(arguments[:2]))
    meant_too = [name for name in verbs() if len(said) == 2 and sorted(words_of(name)) == sorted(said)]
    if len(meant_too) == 1:
        return meant_too[0], arguments[2:]
    first = arguments[0] if arguments else ""
    if not first or first.startswith("-"):
        return "", arguments
    two = "-".join(arguments[:2])
    wholes = [name for name in verbs() if "-" in name and words_of(first)[0] in words_of(name)]
    if wholes and arguments[1:2] in (["-h"], ["--help"]):
        lines = [(f"fsd {shown(name)}", documentation(verbs()[name])[0]) for name in wholes]
        print("\n".join(f"{command:24}{summary}" for command, summary in lines))
        raise SystemExit(0)
    if wholes and (not arguments[1:] or arguments[1].startswith("-")):
        several = ", ".join(f"fsd {shown(name)}" for name in wholes)
        raise UsageError(f"fsd {first} is only half a verb", f"one of: {several}")
    close = get_close_matches(two, verbs(), n=1, cutoff=0.7) or get_close_matches(first, verbs(), n=1)
    likely = f"did you mean fsd {shown(close[0])}? " if close else ""
    raise UsageError(
        f"there is no verb {two.replace('-', ' ', 1) if wholes else first!r}", f"{likely}fsd --help lists all verbs"
    )


def words_of(name: str) -> list[str]:
    """The words of a verb in the singular, so that `session list` is list-sessions too."""
    return [word.removesuffix("s") for word in name.split("-")]


def parameters_of(verb: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """A verb's parameters with their types."""
    hints = typing.get_type_hints(verb)
    for name, parameter in inspect.signature(verb).parameters.items():
        yield parameter.replace(annotation=hints.get(name, str))


def documentation(verb: Callable[..., Any]) -> tuple[str, str, dict[str, str]]:
    """A docstring's first sentence, what else it says of the whole, and its "name: text" lines by name.

    A text may run over several lines; "as for VERB." stands for what that verb says of the same name.
    """
    summary, _, rest = (inspect.getdoc(verb) or "").partition("\n")
    names = list(inspect.signature(verb).parameters)
    details: dict[str, str] = {}
    more: list[str] = []
    current: list[str] = []
    for line in rest.splitlines():
        head, colon, text = line.partition(": ")
        heads = head.split(", ")
        if colon and all(name in names for name in heads):
            current = heads
            details |= dict.fromkeys(heads, text)
        elif line.strip():
            details |= {name: f"{details[name]} {line.strip()}" for name in current}
            more += [] if current else [line.strip()]
    for name, text in details.items():
        if text.startswith("as for "):
            details[name] = documentation(verbs()[text[7:].rstrip(".").replace("_", "-")])[2][name]
    return summary, " ".join(more), details
