"""What a model likes best, as far as that is known before it is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fsd.data.session import Session, list_sessions
from fsd.errors import FsdError
from fsd.families import FAMILIES, family_from
from fsd.webui.engine import ModelChoice
from fsd.webui.studio.sizes import sizes


@dataclass(frozen=True)
class Defaults:
    """What a model likes best. sizes: as offered, the first is its own. prompt: a session's own, "" otherwise."""

    steps: int
    guidance: float
    sizes: tuple[str, ...]
    prompt: str = ""


def defaults(choice: ModelChoice | None, root: Path) -> Defaults:
    """What a model likes best: a session's own size and prompt, otherwise its family's; of an unknown one, SD 1.5's."""
    known = FAMILIES.get(choice.family if choice else "") or FAMILIES["sd15"]
    session = _session(choice, root)
    own_px, prompt = known.native_px, ""
    if session:
        try:
            recipe = session.recipe()
            own_px, prompt = recipe.resolution_px, recipe.prompt()
        except FsdError:  # a session whose recipe is damaged says so when it is used
            pass
    return Defaults(known.sample_steps, known.guidance, sizes(own_px), prompt)


def choice_of(spec: str, choices: list[ModelChoice]) -> ModelChoice | None:
    """The choice that a spec names; one is made up for a path or a link that is not among them, None for no spec."""
    spec = (spec or "").strip()
    if not spec:
        return None
    return next((one for one in choices if one.spec == spec), None) or ModelChoice(spec, spec, "file", _family(spec))


def _session(choice: ModelChoice | None, root: Path) -> Session | None:
    if choice is None or choice.kind != "session":
        return None
    name = choice.spec.partition("@")[0]
    return next((session for session in list_sessions(root) if session.name == name), None)


def _family(spec: str) -> str:
    """The family of a model that is not in the list, "" where it cannot be told without fetching it."""
    if spec in FAMILIES:
        return spec
    try:
        path = os.path.expanduser(spec)
        if not os.path.exists(path):
            return family_from(spec)
        from fsd.weights.detect import detect

        return detect(Path(path)).family
    except (FsdError, OSError):  # what is wrong with it is said when it is used
        return ""
