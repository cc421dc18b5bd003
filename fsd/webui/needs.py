"""What is checked before a web UI is launched, so that nothing starts that cannot end well."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from fsd.errors import MachineError, RecipeError
from fsd.runtime import colab, drive
from fsd.settings import one_of


def need_paid_units(paid_units: bool) -> None:
    """RecipeError on Colab unless its user has said that paid compute units are there."""
    if colab.in_colab() and not paid_units:
        raise RecipeError(
            "Colab forbids web UIs on its free tier, and disconnects runtimes without paid compute units that run one",
            "tick paid_units if your account has compute units; without them draw with the cell 'Generate' of the "
            "notebook fast_dreambooth.ipynb, which is allowed",
        )


def need_packages() -> None:
    """MachineError unless the lock and the studio can be imported."""
    lacking = [name for name in ("aiohttp", "gradio") if find_spec(name) is None]
    if lacking:
        hint = "install what they need: fsd setup webui (in a notebook: run the cell 'Setup')"
        raise MachineError(f"web UIs need {' and '.join(lacking)}, not installed in {sys.prefix}", hint)


def home_folder(root: str) -> Path:
    """The folder that holds Fast-Dreambooth/ and WebUI/; MachineError unless it is one."""
    home = (drive.place(os.path.expanduser(root)) if root else colab.home()).resolve()
    if not os.path.isdir(home):
        what = "is a file" if os.path.exists(home) else "does not exist"
        raise MachineError(f"the folder {home} {what}", "name the folder that holds Fast-Dreambooth/, or make it first")
    return home


def need_tunnel(tunnel: str | list[str]) -> None:
    """RecipeError with the known ones for a tunnel that there is not."""
    from fsd.webui.tunnels import TUNNELS

    for name in [tunnel] if isinstance(tunnel, str) else tunnel:
        one_of("tunnel", name.partition(":")[0].strip(), "auto", *TUNNELS)


def need_port(port: int) -> None:
    """RecipeError for a port that no program of an ordinary user can listen at; 0 is any."""
    if port and not 1024 <= port <= 65535:
        raise RecipeError(f"port is {port}", "choose one from 1024 to 65535, or 0 for any that is free")
