"""The tunnels' programs: the one on the PATH, else a pinned release whose SHA-256 is known. Nothing else is ever run."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from fsd.errors import MachineError
from fsd.runtime import download, files

_PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Build:
    """A release for one kind of machine. sha256: "" where it is not known: then it is not used."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Program:
    """A program. builds: by machine, such as "linux-amd64". to_install: how people get it elsewhere."""

    name: str
    version: str
    to_install: str
    builds: dict[str, Build] = field(default_factory=dict)


_CLOUDFLARED = "https://github.com/cloudflare/cloudflared/releases/download/2026.9.1"
_FRPC = "https://cdn-media.huggingface.co/frpc-gradio-0.3"
_NGROK = "https://bin.ngrok.com/a"

CLOUDFLARED = Program(
    name="cloudflared",
    version="2026.9.1",
    to_install="https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/downloads/",
    builds={  # the sums stand in the release's notes
        "linux-amd64": Build(
            f"{_CLOUDFLARED}/cloudflared-linux-amd64",
            "03f1f25d1cc93b9ad6c60569d44060bc4f17ed97075760ed8cfca4b12dcd68cc",
        ),
        "linux-arm64": Build(
            f"{_CLOUDFLARED}/cloudflared-linux-arm64",
            "3d97437c71848bd8df68041e12436b484a661d95073ea1937f01a845ce88faa3",
        ),
    },
)
FRPC = Program(
    name="frpc",
    version="0.3",
    to_install="https://www.gradio.app/guides/sharing-your-app",
    builds={  # the sums stand in the Gradio package: gradio/tunneling.py
        "linux-amd64": Build(
            f"{_FRPC}/frpc_linux_amd64", "c791d1f047b41ff5885772fc4bf20b797c6059bbd82abb9e31de15e55d6a57c4"
        ),
        "linux-arm64": Build(
            f"{_FRPC}/frpc_linux_arm64", "823ced25104de6dc3c9f4798dbb43f20e681207279e6ab89c40e2176ccbf70cd"
        ),
        "darwin-amd64": Build(
            f"{_FRPC}/frpc_darwin_amd64", "930f8face3365810ce16689da81b7d1941fda4466225a7bbcbced9a2916a6e15"
        ),
        "darwin-arm64": Build(
            f"{_FRPC}/frpc_darwin_arm64", "dfac50c690aca459ed5158fad8bfbe99f9282baf4166cf7c410a6673fbc1f327"
        ),
    },
)
NGROK = Program(
    name="ngrok",
    version="3.39.10",
    to_install="https://ngrok.com/download",
    builds={  # the sums stand in Nixpkgs: pkgs/by-name/ng/ngrok
        "linux-amd64": Build(
            f"{_NGROK}/jhBAuesrzKn/ngrok-v3-3.39.10-linux-amd64",
            "b475c31b409ed3426091bde78b60fae27edee470c2320cb3065743c159b9b27b",
        ),
        "linux-arm64": Build(
            f"{_NGROK}/55PuHLixvyF/ngrok-v3-3.39.10-linux-arm64",
            "a2d1d4d8daebcdae054153bedba96f0fabc7859f049f6d166ef2526ef6620abe",
        ),
    },
)


def need(program: Program) -> None:
    """MachineError when a program is neither there nor known well enough to be fetched."""
    if not (shutil.which(program.name) or _build(program)):
        what = f"there is no {program.name} here, and no release of it with a known SHA-256 for a {machine()}"
        raise MachineError(what, f"install it ({program.to_install}) so that it is on the PATH, or use another tunnel")


def find(program: Program) -> Path:
    """Where a program is: on the PATH, else fetched into the local software folder and checked, each time anew.

    DownloadError when it cannot be had or is not what it should be.
    """
    need(program)
    if known := shutil.which(program.name):
        return Path(known).absolute()
    build = _build(program)
    assert build
    folder = programs_folder() / f"{program.name}-{program.version}"
    path = folder / program.name
    if path.is_file() and files.sha256(path) != build.sha256:
        path.unlink()
    label = f"{program.name} {program.version}"
    path = download.fetch(build.url, folder, name=program.name, sha256=build.sha256, label=label)
    path.chmod(0o755)
    return path


def programs_folder() -> Path:
    """Where fetched programs are kept: on the local disk, beside the web UI's software."""
    from fsd.webui.install import software_folder

    return software_folder() / "tunnels"


def machine() -> str:
    """This kind of machine, such as "linux-amd64"."""
    processor = platform.machine().lower()
    return f"{platform.system().lower()}-{_PROCESSORS.get(processor, processor)}"


def _build(program: Program) -> Build | None:
    found = program.builds.get(machine())
    return found if found and found.sha256 else None
