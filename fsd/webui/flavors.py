"""The web UIs that fsd installs, as records: what is fetched, at which commit, with what it runs, what its log means."""

from __future__ import annotations

from dataclasses import dataclass

from fsd.settings import one_of
from fsd.webui.logs import Fatal, Phase
from fsd.webui.signals import A1111_FATAL, A1111_PHASES, FORGE_FATAL, FORGE_PHASES

_GITHUB = "https://github.com/"


@dataclass(frozen=True)
class Repository:
    """A git repository at one commit. folder: below the web UI's own, "" for the web UI itself.

    mirrors: addresses, in the order tried; one whose copy lacks the commit counts as gone.
    without: files and folders that the program does not need; they are not even fetched.
    """

    folder: str
    commit: str
    mirrors: tuple[str, ...]
    without: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What people are told is fetched: the folder's name, or that of the first address."""
        return (self.folder or self.mirrors[0]).rpartition("/")[2].removesuffix(".git")


@dataclass(frozen=True)
class Flavor:
    """A web UI that can be installed. name: as in `fsd.families.family.WEB_UIS`.

    repositories: the web UI itself first. pythons: versions it runs on, the best first.
    lock: the name of its lock in `fsd/webui/locks`, one file a Python: LOCK-3.10.txt; the constraints for what
    extensions install are LOCK-constraints.txt beside it. modules: what must be importable for it to be whole.
    disk_gb: what an installation takes, with some room.
    flags: for every start. environment: variables for every start.
    phases, ready, fatal, ping: its log lines, and the path that answers 200 once `ready` was printed.
    unverified: what was not tried, for people.
    """

    name: str
    title: str
    version: str
    repositories: tuple[Repository, ...]
    pythons: tuple[str, ...]
    lock: str
    modules: tuple[str, ...]
    disk_gb: float
    flags: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    phases: tuple[Phase, ...]
    ready: str
    fatal: tuple[Fatal, ...]
    ping: str
    unverified: str = ""

    @property
    def constraints(self) -> str:
        """The name of the file with which extensions may install nothing that breaks the web UI."""
        return f"{self.lock}-constraints.txt"


def _github(folder: str, commit: str, *names: str, without: tuple[str, ...] = ()) -> Repository:
    return Repository(folder, commit, tuple(f"{_GITHUB}{name}.git" for name in names), without)


_ASSETS = _github(
    "repositories/stable-diffusion-webui-assets",
    "6f7db241d2f8ba7457bac5ca9753331f0c266917",
    "AUTOMATIC1111/stable-diffusion-webui-assets",
)
_BLIP = _github(
    "repositories/BLIP", "48211a1594f1321b00f14c9f7a5b4813144b2fb9", "salesforce/BLIP", without=("/BLIP.gif",)
)

_FLAGS = (
    "--skip-prepare-environment",  # nothing is cloned or installed at launch: all of it is there, and was checked
    "--skip-install",
    "--no-download-sd-model",  # the address that it would try is dead
    "--server-name=127.0.0.1",  # never to the network; and by this the extensions tab cannot install either
    "--api",
)
_ENVIRONMENT = (
    ("GRADIO_ANALYTICS_ENABLED", "False"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ("STABLE_DIFFUSION_REPO", f"{_GITHUB}w-e-w/stablediffusion.git"),
    ("TORCH_COMMAND", "pip --version"),  # what it would install torch with
)

A1111 = Flavor(
    name="a1111",
    title="AUTOMATIC1111",
    version="1.10.1",
    repositories=(
        # The second is a fork whose history holds the same commit.
        _github(
            "",
            "82a973c04367123ae98bd9abdf80d9eda9b910e2",
            "AUTOMATIC1111/stable-diffusion-webui",
            "lshqqytiger/stable-diffusion-webui-amdgpu",
        ),
        # Among the built-in ones: there it is found wherever the user's data are, and its install.py is never run.
        _github(
            "extensions-builtin/sd-webui-controlnet",
            "56cec5b2958edf3b1807b7e7b2b1b5186dbd2f81",
            "Mikubill/sd-webui-controlnet",
        ),
        # Stability AI's own is gone (AUTOMATIC1111 issue 17204); the first is where AUTOMATIC1111 points since.
        _github(
            "repositories/stable-diffusion-stability-ai",
            "cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf",
            "w-e-w/stablediffusion",
            "Stability-AI/stablediffusion",
            without=("/assets/",),
        ),
        _github(
            "repositories/generative-models",
            "45c443b316737a4ab6e40413d7794a7f5657c19f",
            "Stability-AI/generative-models",
            without=("/assets/",),
        ),
        _github("repositories/k-diffusion", "ab527a9a6d347f364e3d185ba6d714e22d80cb3c", "crowsonkb/k-diffusion"),
        _BLIP,
        _ASSETS,
    ),
    pythons=("3.10", "3.11"),
    lock="a1111",
    modules=("torch", "torchvision", "clip", "open_clip", "gradio", "cv2", "mediapipe", "onnxruntime", "fvcore"),
    disk_gb=8,
    flags=_FLAGS,
    environment=_ENVIRONMENT,
    phases=A1111_PHASES,
    ready=r"^Startup time: ",
    fatal=A1111_FATAL,
    ping="/internal/ping",
    unverified="whether w-e-w/stablediffusion has the pinned commit is taken from AUTOMATIC1111's own use of it",
)

FORGE = Flavor(
    name="forge",
    title="Forge",
    version="dfdcbab (2025-06-26)",
    repositories=(
        _github("", "dfdcbab685e57677014f05a3309b48cc87383167", "lllyasviel/stable-diffusion-webui-forge"),
        _github(
            "repositories/huggingface_guess",
            "84826248b49bb7ca754c73293299c4d4e23a548d",
            "lllyasviel/huggingface_guess",
        ),
        _BLIP,
        _ASSETS,
    ),
    pythons=("3.10", "3.11"),
    lock="forge",
    modules=("torch", "torchvision", "clip", "open_clip", "gradio", "diffusers", "cv2"),
    disk_gb=8,
    flags=_FLAGS,
    environment=_ENVIRONMENT,
    phases=FORGE_PHASES,
    ready=r"^Startup time: ",
    fatal=FORGE_FATAL,
    ping="/internal/ping",
    unverified="Forge itself was not run: its pins, flags and log lines are read from its source",
)

FLAVORS = {flavor.name: flavor for flavor in (A1111, FORGE)}


def get_flavor(name: str) -> Flavor:
    """The record of that name; RecipeError with the possible names otherwise."""
    one_of("flavor", name, *FLAVORS)
    return FLAVORS[name]
