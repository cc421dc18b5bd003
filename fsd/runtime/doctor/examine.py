"""`fsd doctor`: one page about this machine for a bug report, with the next steps. The standard library is enough for it.

No secret is on the page: of tokens, proxies and folders it says only whether they are set.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable

from fsd.errors import MachineError
from fsd.runtime import colab, secrets
from fsd.runtime.doctor import asking, sources
from fsd.runtime.doctor.answers import look_at_answers
from fsd.runtime.doctor.finding import BOTH, Findings
from fsd.runtime.doctor.gpu import look_at_gpu
from fsd.runtime.doctor.image import this_image
from fsd.runtime.doctor.packages import look_at_packages
from fsd.runtime.doctor.page import Examined, page
from fsd.runtime.doctor.sources import Place
from fsd.runtime.doctor.storage import look_at_sessions
from fsd.runtime.doctor.vitals import look_at_disk, look_at_memory
from fsd.runtime.packages.installed import Found, installed

_SETTINGS = (
    *("FSD_HOME", "FSD_OVERLAY", "FSD_WEBUI_HOME", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "PYTHONPATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "CUDA_VISIBLE_DEVICES"),
)


def examine(places: Iterable[Place] = (), offline: bool = False) -> Examined:
    """Look at everything and give back the page.

    places: download sources that this floor does not know, such as the web UIs' repositories. offline: ask no server.
    """
    machine, answers, packages, tokens = map(Findings, ("machine", "download sources", "packages", "tokens"))
    values = _look_at_tokens(tokens)
    _look_at_machine(machine, _torch(packages))
    if not packages.problems:
        look_at_packages(packages)
    if offline:
        answers.say("", "not asked")
    else:
        needed = tuple(job for job in BOTH if any(job in problem.stops for problem in packages.problems))
        look_at_answers(answers, *asking.check([*sources.known_places(), *places], values), needed)
    return page([machine, answers, packages, tokens, _policy()])


def _torch(packages: Findings) -> Found | None:
    """The torch that is installed; a problem where the packages cannot be read at all."""
    try:
        return installed().get("torch")
    except MachineError as fault:
        packages.problem(fault.message, fault.hint, *BOTH)
        return None


def _look_at_machine(found: Findings, torch: Found | None) -> None:
    image = this_image(torch.version if torch else None)
    found.figures |= {"image": image.title, "python": platform.python_version()}
    found.say("image", f"{image.title}\n{image.system}")
    found.say("Python", platform.python_version())
    look_at_gpu(found, torch)
    look_at_memory(found)
    look_at_disk(found)
    look_at_sessions(found)
    names = [name for name in _SETTINGS if os.environ.get(name)]
    found.figures["settings"] = names
    if names:
        found.say("settings", f"in the environment: {', '.join(names)}")
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        found.problem("HF_HUB_OFFLINE is set: nothing is downloaded from the hub", "unset HF_HUB_OFFLINE")


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
    if colab.in_colab() and not colab.asks_for_secrets():
        found.say(
            "", "(of the environment: a notebook's secrets are read in a cell: import fsd.upkeep; fsd.upkeep.doctor())"
        )
    return values


def _policy() -> Findings:
    found = Findings("policy")
    found.say("", "train on people only with their consent")
    if colab.in_colab():
        found.say("", "Colab forbids deepfakes on every runtime, and web UIs on its free tier:")
        found.say("", "they need paid compute units (confirm them with paid_units); training is free of this")
    return found


if __name__ == "__main__":
    examined = examine(offline="--offline" in sys.argv)
    print(examined.text)
    sys.exit(examined.exit_code)
