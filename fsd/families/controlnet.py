"""What a ControlNet is: facts as data, and the file name by which a web UI tells its family."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fsd.families.preprocessors import NONE, PREPROCESSORS, Preprocessor, Weights

STUDIO = "studio"
"""fsd's own web UI: it runs on Diffusers, and takes the ControlNets whose files Diffusers reads."""

EVERYWHERE = ("a1111", "forge", "forge-neo", "comfyui", STUDIO)


@dataclass(frozen=True)
class ControlNet(Weights):
    """A ControlNet. name: of its file, tagged. family: `ModelFamily.controlnets` of the models that it fits.

    tasks: keys of PREPROCESSORS; a union model serves several. web_uis: those that can use it, of WEB_UIS and STUDIO.
    made_by: the preprocessor that it was trained with, "" for the usual one of its task.
    """

    family: str
    tasks: tuple[str, ...]
    web_uis: tuple[str, ...] = EVERYWHERE
    made_by: str = ""

    @property
    def task(self) -> str:
        """The first of its tasks."""
        return self.tasks[0]

    @property
    def preprocessor(self) -> Preprocessor:
        """What makes the control image for its first task."""
        return self.preprocessor_for(self.task)

    def preprocessor_for(self, task: str) -> Preprocessor:
        """What makes the control image for one of its tasks; where it was trained with one of several, that one."""
        known = PREPROCESSORS.get(task, (NONE,))
        return next((one for one in known if one.name == self.made_by), known[0])


_MARKS = (
    ("sd15", re.compile("sd1[456]", re.IGNORECASE)),
    ("sd21", re.compile(r"sd21|2\.1")),
    ("sdxl", re.compile("xl", re.IGNORECASE)),
)
"""(what to write, what the web UI looks for), in its order: the first that it finds decides."""

TAGS = {"sd1": "sd15", "tiny": "sd15", "sd2": "sd21", "sdxl": "sdxl"}
"""The tag by kind of ControlNet; the other kinds must carry none, or they would be taken for these."""


def tag_in(name: str) -> str:
    """The tag of the family that sd-webui-controlnet 1.1.455 takes a ControlNet of that file name for; "" for none."""
    stem = name.rpartition(".")[0] or name
    return next((tag for tag, mark in _MARKS if mark.search(stem)), "")


def tagged_name(name: str, kind: str) -> str:
    """A file name under which a web UI recognises a ControlNet of that kind: `name` itself where it does already."""
    tag = TAGS.get(kind, "")
    if tag_in(name) == tag:
        return name
    stem, dot, suffix = name.rpartition(".")
    for _, mark in _MARKS:
        stem = mark.sub("", stem)
    stem = re.sub(r"([ _.-])[ _.-]+", r"\1", stem).strip(" _.-") or "controlnet"
    return f"{stem}_{tag}{dot}{suffix}" if tag else f"{stem}{dot}{suffix}"
