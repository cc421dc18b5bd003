"""Where web UIs and tunnels' programs are downloaded from, as places for `fsd doctor` to ask."""

from __future__ import annotations

from fsd.runtime.doctor.sources import Place
from fsd.webui.flavors import FLAVORS
from fsd.webui.tunnels.programs import CLOUDFLARED, FRPC, NGROK, machine


def places() -> list[Place]:
    """The repositories of all web UIs with their mirrors, and the pinned programs for this kind of machine."""
    repositories = {
        one.mirrors: Place("web UIs", f"{flavor.title}: {one.title}", tuple(map(_page, one.mirrors)))
        for flavor in FLAVORS.values()
        for one in flavor.repositories
    }
    programs = [
        Place("tunnels", program.name, (program.builds[machine()].url,))
        for program in (CLOUDFLARED, FRPC, NGROK)
        if machine() in program.builds
    ]
    return [*repositories.values(), *programs]


def _page(mirror: str) -> str:
    """A repository's page: git's own address answers 401 for what is gone, as if a login helped."""
    return mirror.removesuffix(".git")
