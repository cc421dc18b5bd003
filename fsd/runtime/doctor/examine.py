"""`fsd doctor`: one page about this machine for a bug report, with the next steps. The standard library is enough for it.

No secret is on the page: of tokens, proxies and folders it says only whether they are set.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import colab, secrets
from fsd.runtime.doctor import sources, vitals
from fsd.runtime.doctor.finding import BOTH, Findings
from fsd.runtime.doctor.image import this_image
from fsd.runtime.doctor.packages import look_at_packages
from fsd.runtime.doctor.page import Examined, page
from fsd.runtime.doctor.sources import MEANING, NO_TOKEN, NOT_ALLOWED, UNREACHABLE, Checked, Place
from fsd.runtime.packages.installed import installed

OLDEST_PYTHON = (3, 11)
_SETTINGS = (
    *("FSD_HOME", "FSD_OVERLAY", "FSD_WEBUI_HOME", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "PYTHONPATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "CUDA_VISIBLE_DEVICES"),
)


def examine(places: Iterable[Place] = (), offline: bool = False) -> Examined:
    """Look at everything and give back the page.

    places: download sources that this floor does not know, such as the web UIs' repositories. offline: ask no server.
    """
    tokens = Findings("tokens")
    values = _look_at_tokens(tokens)
    machine, packages = Findings("machine"), Findings("packages")
    _look_at_machine(machine)
    look_at_packages(packages)
    answers = Findings("download sources")
    if offline:
        answers.say("", "not asked")
    else:
        _look_at_sources(answers, sources.check([*sources.known_places(), *places], values))
    return page([machine, packages, answers, tokens, _policy()])


def _look_at_machine(found: Findings) -> None:
    there = installed().get("torch")
    torch = there.version if there else None
    image = this_image(torch)
    found.figures["image"] = image.title
    found.say("image", f"{image.title}\n{image.system}")
    python = platform.python_version()
    found.figures["python"] = python
    found.say("Python", python)
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        found.problem(f"Python {python} is too old for fsd", f"use Python {oldest} or newer", *BOTH)
    vitals.look_at_gpu(found, torch)
    vitals.look_at_memory(found)
    vitals.look_at_disk(found, Path.cwd())
    vitals.look_at_drive(found)
    names = [name for name in _SETTINGS if os.environ.get(name)]
    found.figures["settings"] = names
    if names:
        found.say("set", ", ".join(names))


def _look_at_sources(found: Findings, checked: list[Checked]) -> None:
    states = [(state, url) for one in checked for url, state in one.answers]
    found.figures["places"] = [
        {"kind": one.place.kind, "name": one.place.name, "usable": one.usable, "mirrors": dict(one.answers)}
        for one in checked
    ]
    if states and all(state == UNREACHABLE for state, _ in states):
        found.say("", f"none of {len(states)} addresses can be reached")
        found.problem(
            "no download source can be reached", "check this machine's connection, and its proxy if it has one"
        )
        return
    for kind in dict.fromkeys(one.place.kind for one in checked):
        several = [one for one in checked if one.place.kind == kind]
        found.say("", f"{kind}: {sum(one.usable for one in several)} of {len(several)} can be had")
    for one, url, state in sources.faulty(checked):
        found.say("", f"  {one.place.name}: {url.partition('://')[2].partition('/resolve/')[0]}: {MEANING[state]}")
    _add_source_problems(found, checked)


def _add_source_problems(found: Findings, checked: list[Checked]) -> None:
    lost = [(one, Counter(state for _, state in one.answers)) for one in checked if not one.usable]
    for state, step in (
        (NO_TOKEN, "accept the licence on the model's page, then give fsd a token: HF_TOKEN"),
        (NOT_ALLOWED, "accept the licence on the model's page with the account that HF_TOKEN belongs to"),
    ):
        names = [one.place.name for one, states in lost if states[state]]
        if names:
            found.problem(f"{', '.join(names)} cannot be had with the token there is", step)
    names = [one.place.name for one, states in lost if not states[NO_TOKEN] and not states[NOT_ALLOWED]]
    if names:
        step = (
            "if you need one of them: run this again later; if it stays so, give fsd a copy of your own, and report it"
        )
        found.problem(f"no mirror has {', '.join(names)}", step)


def _look_at_tokens(found: Findings) -> dict[str, str]:
    """Add which tokens there are, and return them; none is ever shown."""
    values: dict[str, str] = {}
    for name in secrets.NAMES:
        try:
            values[name] = secrets.token(name)
            state = "present" if values[name] else "not set"
        except MachineError as fault:
            state = "present, but unusable"
            found.problem(fault.message, fault.hint)
        found.figures[name] = state
        found.say("", f"{name}: {state}")
    return values


def _policy() -> Findings:
    found = Findings("policy")
    found.say("", "train on people only with their consent")
    if colab.in_colab():
        found.say("", "Colab forbids deepfakes on every runtime, and web UIs on its free tier:")
        found.say("", "they need paid compute units (say so with --paid-units); training is free of this")
    return found


if __name__ == "__main__":
    examined = examine(offline="--offline" in sys.argv)
    print(examined.text)
    sys.exit(examined.exit_code)
