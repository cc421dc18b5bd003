"""localtunnel: an address at loca.lt by a Node program. Slow and often down: the last resort.

`npx` alone would run whatever the newest dependencies are: what is fetched are the releases of localtunnel.json, whose
hashes npm checks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import files
from fsd.webui.tunnels import programs
from fsd.webui.tunnels.child import Cause, Child, Workplace
from fsd.webui.tunnels.tunnel import Opener, Passing, Tunnel

URL_S, INSTALL_S = 30.0, 180.0
PINS = Path(__file__).with_name("localtunnel.json")
"""package.json and package-lock.json in one: each release with its SHA-512, as npm writes it."""
_ADDRESS = r"your url is: (https://[a-z0-9.-]+)"
_HINT = "it is often down: try again later, or choose another tunnel: cloudflared, gradio"
CAUSES = (
    Cause(
        r"connection refused: .*firewall", "localtunnel's relay is down, or the network blocks its ports", _HINT, True
    ),
    Cause(r"503|502|tunnel server offline", "localtunnel's service is down (503)", _HINT, passes=True),
)


def localtunnel(port: int, address: str) -> Opener:
    """Opens a tunnel at loca.lt; address: the wanted name, without a promise."""
    if not shutil.which("lt") and not (shutil.which("npm") and shutil.which("node")):
        hint = "install Node.js (https://nodejs.org), or choose another tunnel: cloudflared, gradio"
        raise MachineError("localtunnel needs Node.js with npm, which is not here", hint)
    name = ["--subdomain", address.partition(".")[0]] if address else []

    def open_it(over: threading.Event) -> Tunnel:
        command = [*_program(), "--port", str(port), *name]
        # the lock listens on IPv4 alone; without the option Node before 20 asks ::1 only
        child = Child("localtunnel", command, over, Workplace(), CAUSES, NODE_OPTIONS="--dns-result-order=ipv4first")
        try:
            if not (found := child.first(_ADDRESS, URL_S)):
                what = (
                    f"localtunnel's service gives no address in {URL_S:.0f} seconds (it is down: 503, or unreachable)"
                )
                raise Passing(what, _HINT)
        except BaseException:
            child.close()
            raise
        return Tunnel(found[1], child.why, child.close)

    return open_it


def _program() -> list[str]:
    """The command: `lt` on the PATH, else the pinned releases, fetched once by npm."""
    if known := shutil.which("lt"):
        return [known]
    node, npm = shutil.which("node"), shutil.which("npm")
    assert node and npm
    pins = json.loads(PINS.read_text(encoding="utf-8"))
    version = pins["package.json"]["dependencies"]["localtunnel"]
    folder = programs.programs_folder() / f"localtunnel-{version}"
    program, done = folder / "node_modules/localtunnel/bin/lt.js", folder / "done"
    if not done.is_file():
        files.remove_folder(folder)
        for name, value in pins.items():
            files.write_json(folder / name, value)
        _fetch(npm, folder)
        done.touch()
    return [node, str(program)]


def _fetch(npm: str, folder: Path) -> None:
    workplace = Workplace()
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(
            command, cwd=folder, env=workplace.environment(HOME=str(Path.home())), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=INSTALL_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as fault:
        said = (getattr(fault, "stderr", None) or b"").decode(errors="replace").strip().splitlines()[-1:]
        what = f"npm could not fetch localtunnel: {''.join(said) or type(fault).__name__}"
        raise Passing(what, "check the network, or choose another tunnel: cloudflared, gradio") from None
    finally:
        workplace.close()
