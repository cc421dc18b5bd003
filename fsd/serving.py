"""Verbs around the web UI: installed, given ControlNets, opened with a model at a link that only you can open."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsd import pipeline
from fsd.data.session import Session
from fsd.errors import MachineError, RecipeError
from fsd.needs import root_folder, wheelhouse_root
from fsd.runtime import report
from fsd.runtime.report import Result
from fsd.settings import one_of

if TYPE_CHECKING:
    from fsd.webui.running import WebUI


class NotLaunched:
    """What a notebook holds as its web UI before one is launched: any use of it says which cell comes first."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # notebooks look for _repr_html_ and the like
            raise AttributeError(name)
        raise MachineError("no web UI runs", "run the cell 'Launch web UI' first: launch_webui")


def webui_install(flavor: str = "a1111", save_wheelhouse: bool = False, root: str = "") -> Result:
    """Install AUTOMATIC1111 with ControlNet, or Forge, with an environment of its own. Run again, it checks and repairs.

    It lies in FSD_WEBUI_HOME, else in the user's cache, never on Drive.
    flavor: a1111 or forge; the studio is part of fsd and needs no installation.
    save_wheelhouse: keep all that it is made of in one file in Fast-Dreambooth/wheelhouse (3.3 GB); the next one needs no
    network, but for a Python 3.10 or 3.11 where the machine has none. The studio's packages: fsd setup webui.
    root: as for webui-launch.
    """
    from fsd.webui.flavors import get_flavor
    from fsd.webui.install import install

    if flavor == "studio":
        raise RecipeError("the studio is part of fsd and needs no installation", "open it: webui_launch ui=studio")
    found = install(get_flavor(flavor), wheelhouse_root(root, save_wheelhouse), save_wheelhouse)
    text = f"{found.flavor.title} {found.flavor.version}: {found.folder}"
    return Result(text, flavor=flavor, version=found.flavor.version, folder=str(found.folder), python=str(found.python))


def webui_launch(
    model: str = "",
    tunnel: str = "auto",
    ui: str = "",
    flags: str = "",
    root: str = "",
    port: int = 0,
    paid_units: bool = False,
    show_password: bool = False,
) -> Result:
    """Open a model in a web UI, at a link that only you can open, until Ctrl-C.

    model: a session (cup, cup@unet-000500, cup@base), a file or folder, a family, OWNER/NAME on the hub, or a link.
    tunnel: auto (on Colab the first that works, elsewhere none), colab, cloudflared, cloudflared-named, ngrok, gradio,
    localtunnel, or none: this machine only.
    ui: a1111, forge or studio (default: an installed one that runs the model, else the studio).
    flags: for AUTOMATIC1111 or Forge, such as "--medvram"; "!--medvram" takes one away that fsd chose.
    root: the folder that holds Fast-Dreambooth/ and WebUI/ (default: My Drive on Colab, else FSD_HOME or here).
    port: of this machine, where the lock listens, as for your own Cloudflare tunnel (default: any that is free).
    paid_units: on Colab: say that your account has paid compute units. Its free tier forbids web UIs.
    show_password: print the password with which programs use the web UI's API.
    """
    from fsd.webui.terminal import links_on_enter

    began = time.monotonic()
    with launch_webui(model, tunnel, ui, flags, root, port, paid_units) as running:
        ready_s = round(time.monotonic() - began, 1)
        how = f"password {running.password}" if show_password else "--show-password shows the password"
        report.say(f"programs log in to its API by HTTP Basic: user {running.user}, {how}")
        try:
            links_on_enter(running)
            report.say("Enter makes another login link, Ctrl-C ends it")
            running.wait()
        except KeyboardInterrupt:
            report.say("stopping")
    ran_s = round(time.monotonic() - began - ready_s, 1)
    return Result(
        f"{running.title} ran for {ran_s:.0f} s", ui=running.title, url=running.url, ready_s=ready_s, ran_s=ran_s
    )


def launch_webui(
    model: str = "",
    tunnel: str = "auto",
    ui: str = "",
    flags: str = "",
    root: str = "",
    port: int = 0,
    paid_units: bool = False,
) -> WebUI:
    """The same for notebooks: the web UI as an object, once it is ready. A session's CKPT or LoRA is written first if need be."""
    from fsd.webui.launch import launch_webui as launch

    def save(session: Session, step: str) -> Path:
        if session.recipe().method == "lora":
            return Path(pipeline.save_lora(session, step=step)["lora"])
        return Path(pipeline.save_ckpt(session, step=step)["ckpt"])

    return launch(model, tunnel, ui, flags, root, port, paid_units, save)


def controlnet_list(family: str = "") -> Result:
    """List the ControlNets that fsd can fetch: task, file, size, preprocessor, web UIs.

    family: only those that fit it.
    """
    from fsd.webui.controlnet import HEAD, list_controlnets, rows

    found = list_controlnets(family)
    none = f"fsd knows no ControlNet for {family}; to add one of your own: fsd controlnet add FILE {family}"
    return Result(report.table(rows(found), HEAD) if found else none, controlnets=[asdict(one) for one in found])


def controlnet_add(what: str, model: str, ui: str = "", root: str = "") -> Result:
    """Add a ControlNet that fits a model, with what its preprocessor needs; what is there already stays.

    what: a task such as canny (fsd controlnet list shows them), or one of your own: a file, a folder, OWNER/NAME on the hub, or
    a link.
    model: the model that it is for: a session, a family such as sdxl, a file or folder.
    ui: the web UI that must be able to use it: a1111, forge or studio (default: the first that fits the model).
    root: as for webui-launch.
    """
    from fsd.webui.controlnet import add_controlnet
    from fsd.webui.desk import Desk
    from fsd.webui.flavors import FLAVORS
    from fsd.webui.models import find_model

    if not what:
        raise RecipeError(
            "no ControlNet is named", "give a task such as canny, or a file, a folder, OWNER/NAME or a link"
        )
    if ui:
        one_of("ui", ui, *FLAVORS, "studio")
    home = root_folder(root)
    family = find_model(model, home).family
    if family is None:
        raise RecipeError("no model is named", "name the session or the family that the ControlNet is for")
    path = add_controlnet(what, family.name, Desk.controlnets(home), Desk.preprocessors(home), ui)
    return Result(f"{path} (for {family.title})", path=str(path), family=family.name)
