"""ControlNets where a web UI finds them: fetched or taken in, recognised by their headers, under names that it knows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from fsd.errors import DownloadError, FsdError, RecipeError, WeightsError
from fsd.families import FAMILIES, get_family
from fsd.families.controlnet import ControlNet, tagged_name
from fsd.families.controlnets import CONTROLNETS, OTHER_WORDS, choose_controlnet, find_controlnets
from fsd.families.preprocessors import PREPROCESSORS, Preprocessor, Weights
from fsd.families.rules import need_controlnet
from fsd.runtime import files, report
from fsd.runtime.report import human_bytes
from fsd.webui.own_controlnet import get_own, is_own
from fsd.webui.placing import Item, cached, fetch, forget, need_room, place
from fsd.weights.detect import detect

HEAD = ["family", "task", "file", "size", "preprocessor", "web UIs"]
_SHOWN_TASKS = 3


def list_controlnets(family: str = "") -> list[ControlNet]:
    """The ControlNets that fsd can fetch, of one family or of all; RecipeError for a family that there is not."""
    return find_controlnets(get_family(family)) if family else list(CONTROLNETS)


def rows(controlnets: Iterable[ControlNet]) -> list[list[str]]:
    """A row of texts for each ControlNet, under HEAD."""
    return [
        [
            one.family,
            _some(one.tasks),
            one.name,
            human_bytes(one.size_bytes),
            _needs(one.preprocessor) if len(one.tasks) == 1 else "as for each task",
            ", ".join(one.web_uis),
        ]
        for one in controlnets
    ]


def _some(tasks: tuple[str, ...]) -> str:
    """The first tasks, and how many more there are."""
    shown = ", ".join(tasks[:_SHOWN_TASKS])
    return shown if len(tasks) <= _SHOWN_TASKS else f"{shown} and {len(tasks) - _SHOWN_TASKS} more"


def add_controlnet(what: str, family: str, folder: Path, annotators: Path | None = None, web_ui: str = "") -> Path:
    """The ControlNet's file in `folder`, under a name by which web UIs tell its family; fetched unless it is there.

    what: a task such as "canny", or a ControlNet of one's own: a file, a Diffusers folder, OWNER/NAME on the hub or a
    link. family: a name in FAMILIES. annotators: the folder where the web UI looks for preprocessors' weights, which
    are fetched ahead too. web_ui: the one that must be able to use it, "" for any. RecipeError for a task that the
    family has no ControlNet for, or a ControlNet of another family; WeightsError for a file that is none; MachineError,
    before anything is fetched, when there is no space; DownloadError when no source has it.
    """
    record, task = get_family(family), OTHER_WORDS.get(what, what)
    if task not in PREPROCESSORS and is_own(what):
        return _add_own(what, family, folder)
    one = choose_controlnet(record, task, web_ui)
    helper = one.preprocessor_for(task)
    wanted: list[tuple[Weights, Path]] = [(one, folder / one.name)]
    wanted += [(file, annotators / helper.folder / file.name) for file in helper.weights if annotators]
    missing = [(file, path) for file, path in wanted if not _is_there(file, path, family)]
    if missing:
        report.say(f"ControlNet for {', '.join(one.tasks)} of {record.title}; preprocessor: {helper.name}")
        need_room([Item(path, file.size_bytes, cached(file)) for file, path in missing])
    for file, path in missing:
        place(fetch(file, partial(_check, file, family)), path)
    return folder / one.name


def check_controlnet(path: Path, family: str) -> None:
    """WeightsError unless a file or folder is a ControlNet, by its header alone; RecipeError unless it fits the family."""
    found, wanted = detect(path), get_family(family)
    if found.kind == "unknown":
        hint = "give a ControlNet as .safetensors, .pth or Diffusers folder"
        raise WeightsError(f"{path.name} is of no kind that fsd knows: {'; '.join(found.signals)}", hint)
    if found.kind != "controlnet":
        hint = "fsd inspect shows what a file is; models and LoRAs belong in other folders of the web UI"
        raise WeightsError(f"{path.name} is not a ControlNet but {found.title}", hint)
    if not found.family:
        hint = f"choose one made for {wanted.title}: fsd controlnet list shows some"
        raise WeightsError(f"{path.name} is {found.title}, which fits no family of fsd", hint)
    need_controlnet(wanted, FAMILIES[found.family], path.name)


def _needs(helper: Preprocessor) -> str:
    return f"{helper.name} ({human_bytes(helper.size_bytes)})" if helper.weights else helper.name


def _check(file: Weights, family: str, found: Path) -> None:
    """What is wrong with a file of the table, raised: of a ControlNet its header tells, of others their size."""
    if isinstance(file, ControlNet):
        check_controlnet(found, family)
        return
    size = found.stat().st_size
    known = file.source.file.size_bytes if file.source.file else None
    if not size or known not in (None, size):
        raise DownloadError(f"{found.name} has {size} bytes, not {known or file.size_bytes}", "run it again")


def _is_there(file: Weights, path: Path, family: str) -> bool:
    if not path.is_file():
        return False
    try:
        _check(file, family, path)
    except FsdError as fault:
        report.say(f"{fault.message}; it is fetched again")
        return False
    return True


def _add_own(what: str, family: str, folder: Path) -> Path:
    """A ControlNet of the user's own in `folder`, once its header fits the family; one that lies there is renamed."""
    own = get_own(what)
    try:
        check_controlnet(own.path, family)
    except FsdError:
        if own.downloaded:
            forget(own.path)
        raise
    target = folder / tagged_name(own.name, get_family(family).controlnets)
    if target.exists():
        if not target.samefile(own.path) and not _same(target, own.path):
            raise RecipeError(f"{target} is there already, and it is another ControlNet", "rename one of them")
    elif own.path.parent.resolve() == folder.resolve():
        os.replace(own.path, target)
    else:
        need_room([Item(target, own.path.stat().st_size, own.path)])
        place(own.path, target)
    return target


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and files.sha256(one) == files.sha256(other)
