"""Launching: which web UI, with which model, on which flags; then it is started behind the lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fsd.data.session import list_sessions
from fsd.errors import FsdError, MachineError, RecipeError
from fsd.runtime import report
from fsd.settings import one_of
from fsd.webui import install as installing
from fsd.webui.desk import Desk
from fsd.webui.flavors import FLAVORS
from fsd.webui.install import Installed, software_folder
from fsd.webui.models import Chosen, SaveCkpt, find_model, lora_files, model_file
from fsd.webui.needs import home_folder, need_packages, need_paid_units, need_port, need_tunnel
from fsd.webui.running import WebUI, replace_current
from fsd.webui.server import Server
from fsd.webui.settings import chosen_flags, first_settings, own_flags, situation

STUDIO = "studio"


@dataclass(frozen=True)
class Plan:
    """What is launched: its title, how its server is made at a port, the path that answers once it is ready, its folder."""

    title: str
    make: Callable[[int], Server]
    ping: str
    kept: Path


def launch_webui(
    model: str = "",
    tunnel: str | list[str] = "auto",
    ui: str = "",
    flags: str = "",
    root: str = "",
    port: int = 0,
    paid_units: bool = False,
    save: SaveCkpt | None = None,
) -> WebUI:
    """A web UI that is ready behind the lock, with its login link.

    model: a session's name ("cup", "cup@unet-000500", "cup@base"), a path, a family, OWNER/NAME on the hub or a link; ""
    what is there. tunnel: a name in TUNNELS, with its address if it has one of its own ("ngrok:my.ngrok.app"), several
    in the order to try, or "auto". ui: "a1111", "forge" or "studio"; "" the first that is installed and runs the model,
    else the studio. flags: for AUTOMATIC1111 or Forge. root: what `home()` gives, if "". port: where the lock listens on
    127.0.0.1, 0 for any: a named tunnel that is set up elsewhere leads to one port. paid_units: needed on Colab.
    save: writes a session's CKPT when it has none of its newest checkpoint.
    RecipeError for what cannot be had together, MachineError that says why it did not start.
    """
    need_paid_units(paid_units)
    need_tunnel(tunnel)
    need_port(port)
    own_flags(flags)
    if ui:
        one_of("ui", ui, STUDIO, *FLAVORS)
    need_packages()
    home = home_folder(root)
    chosen = find_model(model, home)
    installed = choose(chosen, ui)

    def start() -> WebUI:
        plan = _flavor_plan(installed, chosen, home, flags, tunnel, save) if installed else _studio_plan(chosen, home)
        return WebUI(plan.title, plan.make, plan.ping, plan.kept / "logs" / "webui.log", tunnel, port)

    return replace_current(start)


def choose(chosen: Chosen, ui: str) -> Installed | None:
    """The installed web UI for the model, None for the studio; the choice is said. RecipeError for one that cannot run it."""
    if ui == STUDIO:
        return None
    if ui:
        chosen.need(ui)
        if found := installing.find_installed(FLAVORS[ui]):
            return found
        raise MachineError(
            f"{FLAVORS[ui].title} is not installed here",
            f"install it: webui_install flavor={ui}; or choose ui=studio",
        )
    for flavor in FLAVORS.values():
        runs = chosen.family is None or flavor.name in chosen.family.web_uis
        if runs and (found := installing.find_installed(flavor)) and _card_fits(flavor.name):
            return found
    installed = [flavor.title for flavor in FLAVORS.values() if installing.find_installed(flavor)]
    why = f"{chosen.spec} is {chosen.family.title}" if chosen.family and installed else "no other web UI is installed"
    report.say(f"web UI: the studio ({why})")
    return None


def _card_fits(flavor: str) -> bool:
    try:
        chosen_flags(situation(), flavor)
    except MachineError as fault:
        report.say(f"{fault.message}: passed over")
        return False
    return True


def _studio_plan(chosen: Chosen, root: Path) -> Plan:
    from fsd.webui.studio.server import studio_server

    def make(port: int) -> Server:
        return studio_server(root, port, chosen.spec)

    server = make(0)
    return Plan(server.title, make, server.ping, root / "WebUI" / STUDIO)


def _flavor_plan(
    installed: Installed, chosen: Chosen, root: Path, flags: str, tunnel: str | list[str], save: SaveCkpt | None
) -> Plan:
    """Everything that the web UI needs is laid out and its flags are chosen; both are said."""
    from fsd.webui.tunnels import first_kind

    flavor = installed.flavor
    report.say(f"web UI: {flavor.title} {flavor.version}")
    layout = chosen.family.layout if chosen.family else ""
    now = situation(layout, installed.python.parent.parent, first_kind(tunnel).queues)
    ours, lines = chosen_flags(now, flavor.name, flags)
    for line in lines:
        report.say(f"  {line}")
    desk = Desk(root, flavor.name, software_folder() / "desks" / flavor.name)
    desk.lay_out()
    desk.settle(first_settings(now))
    arguments = [*desk.flags(flavor.name), *ours, *_model_flags(desk, chosen, "fp16" if now.card else None, save)]

    def make(port: int) -> Server:
        command = installed.command([*arguments, "--port", str(port)])
        return Server(
            flavor.title,
            tuple(command),
            installed.environment(),
            port,
            flavor.phases,
            flavor.ready,
            flavor.fatal,
            flavor.ping,
            installed.folder,
        )

    return Plan(flavor.title, make, flavor.ping, desk.kept)


def _model_flags(desk: Desk, chosen: Chosen, dtype: str | None, save: SaveCkpt | None) -> list[str]:
    """The arguments that choose the model; RecipeError when none is chosen and none is there."""
    file = model_file(chosen, desk.checkpoints, dtype, save or _cannot_save) if chosen.spec else None
    for session in list_sessions(desk.root):
        lora_files(session, desk.loras)
    if file:
        report.say(f"  model: {file.name} ({chosen.family.title if chosen.family else 'of no known family'})")
        return ["--ckpt", str(file)]
    if not desk.has_checkpoint():
        raise RecipeError(
            f"no model is chosen, and there is none in {desk.root / 'WebUI' / 'models' / 'Stable-diffusion'}",
            "name one: a session, a path, a family such as sd15, or a link",
        )
    return []


def _cannot_save(session: object, step: str) -> Path:
    raise FsdError("the session has no file of its newest checkpoint", "run save_ckpt or save_lora first")
