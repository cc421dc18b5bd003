"""How a web UI is started on this card and this host: flags with the reason of each, and the flags that are refused."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsd.errors import MachineError, RecipeError

GB = 1024**3


@dataclass(frozen=True)
class Card:
    """A GPU: its name, memory in GB, and CUDA compute capability (7.5 is a T4)."""

    name: str
    memory_gb: float
    compute: float


@dataclass(frozen=True)
class Situation:
    """What the choice depends on. card: None without a GPU. host_gb: main memory. layout: of the model, "" if unknown.

    xformers: whether the web UI's environment has it. queues: whether the tunnel carries Gradio's websockets.
    """

    card: Card | None
    host_gb: float
    layout: str = ""
    xformers: bool = False
    queues: bool = True


@dataclass(frozen=True)
class Choice:
    """Flags, when they are chosen, and why; {card}, {card_gb} and {host_gb} are filled in."""

    flags: tuple[str, ...]
    when: Callable[[Situation], bool]
    why: str


def _on_card(test: Callable[[Situation, Card], bool]) -> Callable[[Situation], bool]:
    return lambda now: now.card is not None and test(now, now.card)


def _card_gb(low: float, high: float, *layouts: str) -> Callable[[Situation], bool]:
    return _on_card(lambda now, card: low <= card.memory_gb < high and (not layouts or now.layout in layouts))


CHOICES = (
    Choice(("--use-cpu", "all"), lambda now: now.card is None, "there is no GPU: slow, but it draws"),
    Choice(("--always-cpu",), lambda now: now.card is None, "there is no GPU: slow, but it draws"),
    Choice(("--skip-torch-cuda-test",), lambda now: now.card is None, "there is no GPU to test"),
    Choice(("--no-half", "--precision", "full"), lambda now: now.card is None, "a CPU computes in fp32"),
    Choice(("--lowvram",), _card_gb(0, 3.5), "the card has {card_gb:.0f} GB: parts are moved in and out, slowly"),
    Choice(("--lowvram",), _card_gb(3.5, 5.5, "sdxl", "sd3"), "{card_gb:.0f} GB are little for this model"),
    Choice(("--medvram",), _card_gb(3.5, 6.5, "", "sd1", "sd2"), "the card has {card_gb:.0f} GB"),
    Choice(("--medvram",), _card_gb(5.5, 6.5, "sdxl", "sd3"), "the card has {card_gb:.0f} GB"),
    Choice(("--medvram-sdxl",), _card_gb(6.5, 12.5), "{card_gb:.0f} GB hold an SDXL only in parts; others stay whole"),
    Choice(("--lowram",), _on_card(lambda now, card: now.host_gb < 16 and card.memory_gb >= 8),
           "the host has {host_gb:.0f} GB: weights go straight to the card"),
    Choice(("--no-half-vae",), _on_card(lambda now, card: now.layout == "sdxl"),
           "the VAE of SDXL makes black pictures in fp16"),
    Choice(("--upcast-sampling",), _on_card(lambda now, card: "GTX 16" in card.name),
           "cards of the GTX 16 series make black pictures in fp16"),
    Choice(("--xformers",), _on_card(lambda now, card: now.xformers and card.compute < 8),
           "faster on a card before Ampere, and it saves memory"),
    Choice(("--opt-sdp-attention",), _on_card(lambda now, card: not (now.xformers and card.compute < 8)),
           "PyTorch's own attention is the fastest that this card and this environment have"),
    Choice(("--no-gradio-queue",), lambda now: not now.queues, "Colab's own proxy loses the websockets of the queue"),
)  # fmt: skip
"""In this order. Memory bounds are what users of each size report, with room for a ControlNet; not measured here."""

UNDERSTOOD = {
    "a1111": {"--use-cpu", "--skip-torch-cuda-test", "--no-half", "--lowvram", "--medvram", "--medvram-sdxl", "--lowram",
              "--no-half-vae", "--upcast-sampling", "--xformers", "--opt-sdp-attention", "--no-gradio-queue"},
    "forge": {"--always-cpu", "--skip-torch-cuda-test", "--xformers"},
}  # fmt: skip
"""Which of them a flavor knows; Forge settles the rest by itself."""
NEWEST_COMPUTE = {"a1111": 9.0, "forge": 9.0}
"""The newest cards that the flavor's PyTorch was built for."""

REFUSED = {
    "--share": "it opens a tunnel of its own, past the lock; use the field tunnel",
    "--ngrok": "it opens a tunnel of its own, past the lock, and shows its token; use the field tunnel",
    "--listen": "it opens the port to the whole network, past the lock",
    "--server-name": "the web UI must listen on 127.0.0.1 alone, behind the lock",
    "--port": "the port is found anew for each start; the link stays",
    "--subpath": "the lock serves the web UI at the root of the link",
    "--nowebui": "it takes the page away, and listens to the whole network",
    "--gradio-auth": "passwords in a command line are shown to everyone on the machine; the lock asks for one already",
    "--api-auth": "passwords in a command line are shown to everyone on the machine; the lock guards the API too",
    "--enable-insecure-extension-access": "whoever has the page could run any program here",
    "--allow-code": "whoever has the page could run any program here",
    "--disable-safe-unpickle": "a model file could then run any program here; fsd convert makes a .safetensors of it",
    "--api-server-stop": "whoever has the API could end the process; stop() does",
    "--cors-allow-origins": "other pages in your browser could use the web UI in your name",
    "--gradio-allowed-path": "files outside the web UI's folder could be read through it",
    "--tls-keyfile": "the tunnel brings its own encryption, and the lock speaks plainly to the web UI",
    "--data-dir": "models, pictures and settings lie in the folder WebUI; see fsd webui launch --help",
    "--ui-settings-file": "models, pictures and settings lie in the folder WebUI; see fsd webui launch --help",
}
"""Flags that are not taken, and why; also what begins like them, as the web UI completes shortened flags."""
_FIRST_SETTINGS = {"sd2": {"upcast_attn": True}}
"""By layout: the attention of SD 2 overflows in fp16."""
_WHOLE = ("--api",)
"""Flags that only look like the beginning of a refused one."""
_GROUPS = (
    ("--lowvram", "--medvram"),
    ("--xformers", "--opt-", "--disable-opt"),
    ("--no-half", "--precision", "--upcast"),
)


def situation(layout: str = "", environment: Path | None = None, queues: bool = True) -> Situation:
    """This machine as it is now. environment: the folder of the web UI's Python environment. queues: of the tunnel."""
    found = list(environment.glob("lib/*/site-packages/xformers")) if environment else []
    host_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Situation(find_card(), host_bytes / GB, layout, bool(found), queues)


def find_card() -> Card | None:
    """The first GPU as the driver says, None without one."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
        name, memory_mb, compute = (part.strip() for part in lines[0].split(","))
        return Card(name, float(memory_mb) / 1024, float(compute))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


def chosen_flags(now: Situation, flavor: str, wanted: str = "") -> tuple[list[str], list[str]]:
    """(flags, a line on each choice). wanted: people's own flags; ours of the same group make way for them, and !--FLAG
    takes one of ours away.

    RecipeError naming a flag that is refused and why, MachineError for a card that the web UI's PyTorch cannot drive.
    """
    own = own_flags(wanted)
    if now.card and now.card.compute > NEWEST_COMPUTE.get(flavor, float("inf")):
        what = f"{now.card.name} (compute {now.card.compute:g}) is newer than what {flavor}'s PyTorch knows"
        raise MachineError(what, "choose ui=studio, or a runtime with a T4, L4, A100 or H100")
    flags: list[str] = []
    lines: list[str] = []
    taken_away = {flag[1:] for flag in own if flag.startswith("!")}
    own = [flag for flag in own if not flag.startswith("!")]
    for choice in CHOICES:
        first = choice.flags[0]
        if first in UNDERSTOOD.get(flavor, ()) and choice.when(now) and not _settled(first, own, taken_away):
            flags += choice.flags
            lines.append(f"{' '.join(choice.flags)}: {_filled(choice.why, now)}")
    return [*flags, *own], [*lines, *([f"{' '.join(own)}: as you wish"] if own else [])]


def first_settings(now: Situation) -> dict[str, Any]:
    """Settings for the web UI's own file that the model needs and people have not chosen yet."""
    return dict(_FIRST_SETTINGS.get(now.layout, {})) if now.card else {}


def own_flags(wanted: str) -> list[str]:
    """People's flags as a list; RecipeError naming the first that is refused, and why."""
    try:
        own = shlex.split(wanted)
    except ValueError as fault:
        raise RecipeError(f"the flags {wanted!r} cannot be read: {fault}", "write them as in a command line") from None
    for flag in own:
        name = flag.partition("=")[0]
        if name in _WHOLE or not name.startswith("-"):
            continue
        for refused, why in REFUSED.items():
            if name.startswith(refused) or (len(name) > 2 and refused.startswith(name)):
                raise RecipeError(f"the flag {name} is not taken ({refused}): {why}", "leave it out")
    return own


def _settled(flag: str, own: list[str], taken_away: set[str]) -> bool:
    """Whether people have chosen in the flag's stead: itself, another of its group, or that they do not want it."""
    group = next((group for group in _GROUPS if flag.startswith(group)), (flag,))
    return flag in taken_away or any(one.startswith(group) for one in own)


def _filled(why: str, now: Situation) -> str:
    card = now.card or Card("", 0, 0)
    return why.format(card=card.name, card_gb=card.memory_gb, host_gb=now.host_gb)
