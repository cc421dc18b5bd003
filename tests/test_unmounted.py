"""A Drive that is not mounted: every verb that is to work there refuses, and nothing is made where it belongs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from micro import make_folder
from PIL import Image

from fsd import command_line
from fsd.data.session import Session
from fsd.errors import FsdError
from fsd.runtime import colab

PACKAGE = Path(__file__).parents[1] / "fsd"
PLACES = {"session", "root", "destination", "recipe"}
"""Parameters that name where a verb works."""
NETWORK_FIRST = {"webui-install"}
"""Works on this machine's disk, from the network, before it may write a wheelhouse to Drive."""


@pytest.fixture(params=["an empty folder", "nothing"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """My Drive, which is not there; its mount point is, or only the folder above that."""
    mount_point = tmp_path / "content" / "drive"
    mount_point.parent.mkdir()
    if request.param == "an empty folder":
        mount_point.mkdir()
    monkeypatch.setattr(colab, "MOUNT_POINT", mount_point)
    monkeypatch.chdir(tmp_path)
    return mount_point / "MyDrive"


def arguments(verb: Callable[..., Any], root: Path, tmp_path: Path) -> dict[str, Any]:
    """What to call a verb with, so that all it is to write lies on Drive."""
    wanted = inspect.signature(verb).parameters
    base_model = make_folder(tmp_path / "model") if "dtype" in wanted and "source" in wanted else None
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photos" / "a.png")
    (tmp_path / "job.json").write_text(f'{{"session": "dog", "root": "{root}", "photos": "{tmp_path / "photos"}"}}')
    given: dict[str, Any] = {
        "session": Session(root / "Fast-Dreambooth" / "Sessions" / "dog"),
        "root": str(root),
        "destination": str(root / "out.safetensors"),
        "source": str(base_model if "destination" in wanted else tmp_path / "photos"),
        "photos": str(tmp_path / "photos"),
        "photo": "a.png",
        "name": "dog",
        "recipe": str(tmp_path / "job.json"),
        "base_model": "tiny",
        "repository": "someone/dog",
        "what": "canny",
        "question": "is it red?",
        "prompt": "a dog",
        "words": "a dog",
        "model": str(root / "model.safetensors"),
        "left": 0,
        "top": 0,
        "side": 8,
    }
    return {name: given[name] for name, one in wanted.items() if name in given and one.kind != one.VAR_POSITIONAL}


VERBS = {
    name: verb
    for name, verb in command_line.verbs().items()
    if PLACES & set(inspect.signature(verb).parameters) and name not in NETWORK_FIRST
}
REFUSED = "Google Drive is not mounted|there is no f(older|ile)|does not exist|is not in a sessions folder"
SATISFIED = {"sync", "setup"}
"""Verbs that find nothing to do there: nothing that waits to be brought, no profile."""


def test_every_verb_that_writes_is_tried() -> None:
    others = {"doctor", "families", "plan", "base-model", "inspect", "controlnet-list"}
    assert set(command_line.verbs()) - set(VERBS) == others | NETWORK_FIRST


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_refuses_and_makes_nothing(name: str, root: Path, tmp_path: Path) -> None:
    given = arguments(VERBS[name], root, tmp_path)
    before = sorted(root.parent.parent.rglob("*"))
    with nullcontext() if name in SATISFIED else pytest.raises(FsdError, match=REFUSED):
        VERBS[name](**given)
    assert sorted(root.parent.parent.rglob("*")) == before


def test_folders_are_made_in_one_place() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"mkdir\(.*parents|makedirs\(", line)
    }
    assert found == {"runtime/files.py: folder.mkdir(parents=True, exist_ok=True)"}
