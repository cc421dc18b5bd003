"""Tunnels: ways for a browser elsewhere to reach the web UI, always through fsd's lock.

A table of small adapters; `start_watch` opens one, tries it end to end, and opens it again when it ends.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from fsd.errors import FsdError, MachineError
from fsd.runtime import colab
from fsd.webui.server import status_of
from fsd.webui.tunnels import cloudflared, gradio_share, local, localtunnel, ngrok
from fsd.webui.tunnels.pace import PATIENT, Pace
from fsd.webui.tunnels.tunnel import Lock, TunnelKind
from fsd.webui.tunnels.watch import Choice, Watch, none_of

__all__ = ["AUTO", "TUNNELS", "Lock", "Pace", "TunnelKind", "Watch", "first_kind", "start_watch"]

_KINDS = (
    TunnelKind(
        "colab", "Colab's own port proxy", local.colab_proxy, reachable=False, queues=False,
        notes=(
            "Only you can open it: in the browser that shows this notebook, while the notebook's page stays open.",
            "It shows an error 403? Allow third-party cookies for it, switch ad blockers off for it, or use another "
            'tunnel, such as tunnel="cloudflared".',
        ),
    ),
    TunnelKind(
        "cloudflared-named", "your own Cloudflare tunnel", cloudflared.named,
        notes=("Its address stays. It can ask for a login by mail, too: Cloudflare Access.",),
    ),
    TunnelKind(
        "cloudflared", "Cloudflare's quick tunnel", cloudflared.quick,
        notes=("A new address at each start, at most 200 requests at once, no server-sent events: progress may come late.",),
    ),
    TunnelKind(
        "gradio", "Gradio share", gradio_share.share,
        notes=("The link lasts a week at most (72 hours with older relays). An error 504 means that the relay lost us: "
               "https://status.gradio.app",),
    ),
    TunnelKind(
        "ngrok", "ngrok", ngrok.ngrok,
        notes=(
            "The free plan has 1 GB and 20,000 requests a month: some 500 pictures; live previews use requests up.",
            "Its warning page comes once for each browser: press 'Visit Site'. Programs send the header "
            "ngrok-skip-browser-warning.",
        ),
    ),
    TunnelKind(
        "localtunnel", "localtunnel", localtunnel.localtunnel,
        notes=("Its page asks for a password: the public IP address of this machine. To see it, run here: "
               "curl https://loca.lt/mytunnelpassword", "It is slow and often down (503)."),
    ),
    TunnelKind("none", "no tunnel", local.no_tunnel, public=False, notes=("It opens on this machine only.",)),
)  # fmt: skip

TUNNELS: dict[str, TunnelKind] = {kind.name: kind for kind in _KINDS}
AUTO = {
    True: ("colab", "cloudflared-named", "cloudflared", "gradio", "ngrok", "localtunnel"),
    False: ("none",),
}
"""What "auto" tries in turn, on Colab and elsewhere. At home nothing leaves the machine unless it is asked for."""


def start_watch(
    wanted: str | list[str],
    lock: Lock,
    check: Callable[[str], None],
    on_url: Callable[[str], None],
    pace: Pace = PATIENT,
) -> Watch:
    """What opens a tunnel onto the lock and keeps it open until it is closed; `wait_open` is to follow.

    wanted: a name of TUNNELS, several to be tried in turn, or "auto"; with a colon the address: "ngrok:my.ngrok.app".
    lock: the proxy. check: raises until the whole chain answers at an address. on_url: told each address once it
    answers, the first and those after it. Wait on a notebook's main thread: only there can Colab's page be asked.
    `wait_open` says in one line for each kind why none could be opened, and what to do: MachineError.
    """
    need_lock(lock)
    return Watch(_choices(_asked(wanted), lock.port), lock, check, on_url, pace)


def need_lock(lock: Lock) -> None:
    """MachineError unless strangers are turned away: there is no way past this to open a tunnel."""
    port = getattr(lock, "port", None)
    if isinstance(port, int) and callable(getattr(lock, "set_public", None)):
        # a lock refuses whatever the path; a web UI with a login of its own serves some paths to everybody
        if all(status_of(f"http://127.0.0.1:{port}{path}") == 401 for path in ("/", f"/{uuid.uuid4().hex}")):
            return
        raise MachineError(f"what listens at port {port} lets strangers in: no tunnel is opened", "start fsd's proxy")
    raise MachineError("a tunnel opens only onto fsd's lock, not onto a bare port", "pass what start_proxy returns")


def first_kind(wanted: str | list[str]) -> TunnelKind:
    """The kind that `start_watch` tries first, whether or not it opens; MachineError for an unknown name."""
    return TUNNELS[_asked(wanted)[0][0]]


def _asked(wanted: str | list[str]) -> list[tuple[str, str]]:
    """Names and addresses that were asked for; MachineError for an unknown name."""
    texts = [wanted] if isinstance(wanted, str) else list(wanted)
    if texts == ["auto"]:
        texts = list(AUTO[colab.in_colab()])
    asked = [(name.strip(), address.strip()) for name, _, address in (text.partition(":") for text in texts)]
    unknown = [name for name, _ in asked if name not in TUNNELS]
    if unknown or not asked:
        known = ", ".join(["auto", *TUNNELS])
        raise MachineError(
            f"there is no tunnel {unknown[0]!r}" if unknown else "no tunnel is named", f"choose: {known}"
        )
    return [(name, address.removeprefix("https://").removeprefix("//").rstrip("/")) for name, address in asked]


def _choices(asked: list[tuple[str, str]], port: int) -> list[Choice]:
    """What can be opened here, in turn; the first error, with the others' texts, when nothing can."""
    found, faults = [], dict[str, FsdError]()
    for name, address in asked:
        try:
            found.append(Choice(TUNNELS[name], TUNNELS[name].prepare(port, address)))
        except FsdError as fault:
            faults[TUNNELS[name].title] = fault
    if not found:
        raise none_of(faults)
    return found
