"""cloudflared: a quick tunnel without an account, or a named one of the user's own with a hostname that stays.

Lines as of cloudflared 2026.8 (cmd/cloudflared/tunnel/quick_tunnel.go, connection/observer.go, orchestrator.go).
"""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

from fsd.errors import FsdError, MachineError
from fsd.runtime import secrets
from fsd.webui.tunnels import programs
from fsd.webui.tunnels.child import Cause, Child, Workplace
from fsd.webui.tunnels.tunnel import Opener, Passing, Tunnel

URL_S, CONNECTED_S = 45.0, 20.0
TOKEN, HOSTNAME = "CLOUDFLARE_TUNNEL_TOKEN", "CLOUDFLARE_TUNNEL_HOSTNAME"
_ADDRESS = r"https://(?!api\.)[a-z0-9-]+\.trycloudflare\.com(?![\w.-])"
_CONNECTED = r"Registered tunnel connection|Connection [0-9a-f-]{36} registered"
_NO_QUIC = r"[Ff]ailed to dial a quic connection|failed to dial to edge with quic|no recent network activity"
_CONFIGURED = re.compile(r'Updated to new configuration config="(.*)" version=')
_SERVICE = re.compile(r"https?://(?:localhost|127\.0\.0\.1):(\d+)/?")
_ELSE = "or choose another tunnel: gradio, ngrok"
CAUSES = (
    Cause(
        r"429 Too Many|error code: 1015|status_code=\"429",
        "Cloudflare gives out no more quick tunnels to this address for now (429, error 1015)",
        f"many Colab machines share an address: wait for a quarter of an hour, {_ELSE}",
    ),
    Cause(
        r"error code: 1101|status_code=\"5\d\d|failed to parse quick Tunnel ID",
        "Cloudflare's quick tunnels have a fault of their own (1101, 500)",
        f"try again in a minute, {_ELSE}",
        passes=True,
    ),
    Cause(
        r"failed to request quick Tunnel|failed to unmarshal quick Tunnel",
        "Cloudflare's quick tunnels cannot be reached, or something on the way answers for them",
        f"check that this network lets HTTPS to api.trycloudflare.com pass, {_ELSE}",
        passes=True,
    ),
    Cause(
        r"Provided Tunnel token is not valid|Unauthorized: (Invalid|Tunnel|Failed)|Invalid tunnel secret",
        f"Cloudflare does not accept {TOKEN}",
        "copy the token again from the dashboard: Networks, Tunnels, your tunnel, Configure",
    ),
    Cause(
        r"flag provided but not defined: -+(token-file|metrics|protocol)",
        "the cloudflared on the PATH is too old",
        "update it to 2025.4 or later, or take it off the PATH: then fsd fetches a pinned one",
    ),
)


def quick(port: int, address: str) -> Opener:
    """Opens a quick tunnel: a new random address each time."""
    programs.need(programs.CLOUDFLARED)
    protocols: list[tuple[str, ...]] = [(), ("--protocol", "http2")]

    def open_it(over: threading.Event) -> Tunnel:
        while True:
            try:
                return _start(["--url", f"http://127.0.0.1:{port}", *protocols[0]], over)
            except _NoQuic:
                if len(protocols) == 1 or over.is_set():
                    raise
                del protocols[0]  # a network that lets no UDP pass will not do so later

    return open_it


class _NoQuic(Passing):
    pass


def _start(arguments: list[str], over: threading.Event) -> Tunnel:
    child = _child(programs.find(programs.CLOUDFLARED), arguments, over, Workplace())
    try:
        found = child.first(_ADDRESS, URL_S)
        if not found:
            raise child.why(f"no address after {URL_S:.0f} seconds")
        # asked before it is connected, the name server would remember for minutes that there is no such name
        connected = child.first(f"{_CONNECTED}|{_NO_QUIC}", CONNECTED_S)
        if not connected or not re.search(_CONNECTED, connected[0]):
            hint = "let this machine reach port 7844 (UDP or TCP), or choose another tunnel: gradio, ngrok"
            raise _NoQuic("cloudflared cannot connect to Cloudflare: the network lets port 7844 not pass", hint)
    except BaseException:
        child.close()
        raise
    return Tunnel(found[0], child.why, child.close)


def named(port: int, address: str) -> Opener:
    """Opens the user's own tunnel; address: its hostname, if it has several."""
    programs.need(programs.CLOUDFLARED)
    token = secrets.token(TOKEN)
    if not token:
        where = "https://one.dash.cloudflare.com, Networks, Tunnels"
        raise MachineError(
            f"a named Cloudflare tunnel needs {TOKEN}", f"make one at {where}; {secrets.how_to_give(TOKEN)}"
        )
    wanted = address or secrets.token(HOSTNAME)

    def open_it(over: threading.Event) -> Tunnel:
        program, rules = programs.find(programs.CLOUDFLARED), _Rules(port)
        workplace = Workplace()
        file = workplace.write("token", token)
        child = _child(program, ["run", "--token-file", str(file)], over, workplace, (token,), rules)
        try:
            if not child.first(_CONNECTED, URL_S):
                raise child.why(f"not connected after {URL_S:.0f} seconds")
            file.unlink()
            child.first(_CONFIGURED.pattern, CONNECTED_S)
            return Tunnel(f"https://{rules.choose(wanted)}", child.why, child.close)
        except BaseException:
            child.close()
            raise

    return open_it


class _Rules:
    """Where the dashboard sends the tunnel's visitors: only to the lock may they come."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._hostnames: list[str] = []

    def __call__(self, line: str) -> FsdError | None:
        """Why a new configuration is refused."""
        if not (found := _CONFIGURED.search(line)):
            return None
        try:
            rules = json.loads(json.loads(f'"{found[1]}"')).get("ingress") or []
            services = [(str(rule.get("hostname", "*")), str(rule["service"])) for rule in rules]
        except (ValueError, KeyError, AttributeError, TypeError):
            return MachineError("cloudflared: its configuration cannot be read", "choose another tunnel")
        self._hostnames = [name for name, service in services if self._is_lock(service)]
        for name, service in services:
            if not self._is_lock(service) and not service.startswith("http_status:"):
                what = f"the Cloudflare tunnel sends {name} to {service}, past fsd's lock at port {self._port}"
                return MachineError(what, f"in its dashboard set the service to http://localhost:{self._port} {_PORT}")
        return None

    def choose(self, wanted: str) -> str:
        """The hostname to show; MachineError when the tunnel has none that leads to the lock."""
        names = [name for name in self._hostnames if wanted in ("", name)]
        if not names or "*" in names[0]:
            what = f"the Cloudflare tunnel has no public hostname {wanted}".rstrip() + " that leads to the web UI"
            raise MachineError(what, f"add one in its dashboard with the service http://localhost:{self._port} {_PORT}")
        return names[0]

    def _is_lock(self, service: str) -> bool:
        found = _SERVICE.fullmatch(service)
        return found is not None and service.startswith("http:") and int(found[1]) == self._port


_PORT = "(or start the web UI at the port that stands there)"


def _child(
    program: Path,
    arguments: list[str],
    over: threading.Event,
    workplace: Workplace,
    hidden: tuple[str, ...] = (),
    rules: _Rules | None = None,
) -> Child:
    # a configuration of the user's own, found in one of several places, would stop quick tunnels
    config = workplace.write("config.yml", "no-autoupdate: true\n")
    common = ["tunnel", "--config", str(config), "--no-autoupdate", "--metrics", "127.0.0.1:0"]
    command = [str(program), *common, *arguments]
    return Child("cloudflared", command, over, workplace, CAUSES, hidden, rules or (lambda line: None))
