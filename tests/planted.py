"""Secrets planted for a test: the forms in which they may be written, and what the system tells of our descendants."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

PROXY_PASSWORD = "PlantedPw+proxy/3e"
IN_ENVIRONMENT = {
    "NGROK_AUTHTOKEN": "2Planted+ngrok/7f",
    "CLOUDFLARE_TUNNEL_TOKEN": "eyPlanted+cloudflare==",
    "HTTPS_PROXY": f"http://jane:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:9",
}
"""Port 9 of this machine answers nobody: what goes through that proxy fails at once."""
ON_THE_HUB = {"HF_TOKEN": "hf_PlantedHub8c", "CIVITAI_TOKEN": "Planted+civitai/1d"}
ALL = IN_ENVIRONMENT | ON_THE_HUB | {"HTTPS_PROXY": PROXY_PASSWORD}


def forms(value: str) -> set[bytes]:
    """A secret as it may be written: plain, quoted for a link, and in base64 at each of the three places in a group."""
    found = {value.encode(), quote(value, safe="").encode()}
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + value.encode())
        found.add(encoded[4 if before else 0 : -4])
    return found


def planted_in(content: bytes, secrets: dict[str, str] = ALL) -> list[str]:
    """The names of the secrets that stand in it."""
    return [name for name, value in secrets.items() if any(form in content for form in forms(value))]


@dataclass
class Seen:
    """Of descendants: command lines, and the environments of all but the first ones, whom the secrets were given to.

    between: pairs of both, as a child that has not begun its own program yet still shows its parent's.
    """

    lines: set[bytes] = field(default_factory=set)
    first: set[tuple[bytes, bytes]] = field(default_factory=set)
    between: set[tuple[bytes, bytes]] = field(default_factory=set)

    @property
    def environments(self) -> set[bytes]:
        known = {line for line, _ in self.first}
        return {content for line, content in self.between if line not in known}


@contextmanager
def watched() -> Iterator[Seen]:
    """While inside: what the system tells of all processes that descend from this one."""
    seen, over = Seen(), threading.Event()
    me = os.getpid()
    parents: dict[int, int] = {me: 0}
    others: set[int] = set()

    def look() -> None:
        while not over.wait(0.02):
            for number in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
                if number == me or number in others:
                    continue
                try:
                    _note(number, Path("/proc") / str(number))
                except OSError:  # it has ended
                    continue

    def _note(number: int, process: Path) -> None:
        if number not in parents:
            parent = int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])
            if parent not in parents:
                others.add(number)
                return
            parents[number] = parent
        line = (process / "cmdline").read_bytes()  # before the other: then both are of one program, or it is the older
        pair = line, (process / "environ").read_bytes()
        seen.lines.add(line)
        (seen.first if parents[number] == me else seen.between).add(pair)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
