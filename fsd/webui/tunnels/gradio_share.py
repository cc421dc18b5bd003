"""Gradio share: a gradio.live address by Gradio's own relay, driven directly and without the Gradio package.

The package's tunnelling is private to it and has changed its arguments between releases; the relay's API has a version
in its address and the program one in its name. Facts: gradio/networking.py and gradio/tunneling.py of gradio 6.31.
"""

from __future__ import annotations

import json
import secrets
import threading
from http.client import HTTPException

from fsd.errors import FsdError, MachineError
from fsd.runtime.retry import Again
from fsd.runtime.web import Visitor
from fsd.webui.tunnels import programs
from fsd.webui.tunnels.child import Cause, Child, Workplace
from fsd.webui.tunnels.tunnel import Opener, Passing, Tunnel

API = "https://api.gradio.app/v3/tunnel-request"
URL_S = 30.0
_HINT = "see https://status.gradio.app and try again later, or choose another tunnel: cloudflared, ngrok"
_ADDRESS = r"start proxy success: (https://[A-Za-z0-9.-]+)"
CAUSES = (
    Cause(r"login to server failed|EOF|i/o timeout", "Gradio's relay does not take this machine", _HINT, passes=True),
    Cause(r"connection refused|no such host|network is unreachable", "Gradio's relay cannot be reached", _HINT, True),
    Cause(r"x509|certificate", "Gradio's relay shows a certificate that does not fit", _HINT, passes=True),
    Cause(r"unknown (flag|shorthand)", "the frpc on the PATH is not Gradio's", "take it off the PATH"),
)


def share(port: int, address: str) -> Opener:
    """Opens a share link: a new random address each time."""
    programs.need(programs.FRPC)

    def open_it(over: threading.Event) -> Tunnel:
        program, (host, relay_port, certificate) = programs.find(programs.FRPC), _relay()
        workplace = Workplace()
        trusted = workplace.write("relay.pem", certificate)
        name = secrets.token_urlsafe(24)  # tells the relay's clients apart; it opens nothing
        command = [
            *(str(program), "http", "-n", name, "-l", str(port), "-i", "127.0.0.1"),
            *("--uc", "--sd", "random", "--ue", "--server_addr", f"{host}:{relay_port}", "--disable_log_color"),
            *("--tls_enable", "--tls_trusted_ca_file", str(trusted)),
        ]
        child = Child("Gradio's frpc", command, over, workplace, CAUSES)
        try:
            if not (found := child.first(_ADDRESS, URL_S)):
                raise child.why(f"no address after {URL_S:.0f} seconds")
        except BaseException:
            child.close()
            raise
        return Tunnel(found[1], child.why, child.close)

    return open_it


def _relay() -> tuple[str, int, str]:
    """The relay that Gradio assigns: host, port, and the certificate (PEM) to know it by. Passing when there is none."""
    fault: FsdError = Passing("Gradio's share service answers with something else than a relay", _HINT)
    try:
        with Visitor(API).ask({}) as answer:
            if answer.status != 200:
                raise Passing(f"Gradio's share service has a fault of its own ({answer.status})", _HINT)
            relay = json.loads(answer.body.read(1 << 20))[0]
        host, port, certificate = str(relay["host"]), int(relay["port"]), str(relay["root_ca"])
    except Again as unreachable:
        raise Passing(f"Gradio's share service: {unreachable}", _HINT) from None
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        raise fault from None
    if not certificate.startswith("-----BEGIN CERTIFICATE-----") or not host or host.startswith("-"):
        raise MachineError(fault.message, fault.hint)
    return host, port, certificate
