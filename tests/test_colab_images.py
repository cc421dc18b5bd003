"""What fsd installs fits on top of every recorded image of Colab, and no path of one image is written down in fsd.

Offline: `colab/resolve.py` asked the registry, and recorded what it chose with its requirements. Covered: every
requirement from fsd's own on, for the image's Python, Linux and processor, through everything that was chosen. Not
covered: what the images have beyond the recorded packages, and whether versions that agree on paper run together.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from notebook_runner import ROOT
from packaging.requirements import Requirement
from recorded_images import Recorded, check, extras, images, profiles, resolution

from fsd.runtime.doctor.image import NEWEST

RECORD = resolution()
CASES = [(image, profile) for image in images() for profile in RECORD["images"][image.name]]
IDS = [f"{image.name}-{profile}" for image, profile in CASES]
SELDOM_THERE = {"bitsandbytes", "pillow-heif", "pyngrok", "uv"}
"""What our profiles ask for and no image is known to have."""


def test_every_image_and_profile_is_resolved() -> None:
    assert len(RECORD["images"]) == 6
    for image in images():
        assert RECORD["images"][image.name].keys() == profiles().keys() == {"train", "webui", "caption", "all"}


def test_the_profiles_are_the_extras() -> None:
    for name, wanted in profiles().items():
        given = extras()["webui" if name == "all" else name]
        assert {str(Requirement(line)) for line in wanted} == {str(Requirement(line)) for line in given}


@pytest.mark.parametrize(("image", "profile"), CASES, ids=IDS)
def test_a_profile_fits_on_top_of_an_image(image: Recorded, profile: str) -> None:
    found = check(image, profiles()[profile], RECORD["images"][image.name][profile], RECORD["metadata"])
    assert found.conflicts == []
    assert found.unknown == [], "run tests/colab/resolve.py: what fsd asks for has changed since"
    assert found.requirements > 80


@pytest.mark.parametrize("profile", profiles())
def test_on_the_newest_image_everything_recorded_is_used_as_it_is(profile: str) -> None:
    image = next(image for image in images() if image.name == NEWEST)
    chosen = RECORD["images"][NEWEST][profile]
    assert {name: version for name, version in chosen.items() if image.packages.get(name, version) != version} == {}
    assert image.absent & chosen.keys() <= SELDOM_THERE


def test_what_is_chosen_for_an_older_image_is_only_what_is_too_old_there() -> None:
    changed = {
        image.name: {name for name, version in RECORD["images"][image.name]["train"].items()
                     if image.packages.get(name, version) != version}
        for image in images()
    }  # fmt: skip
    assert changed.pop("2026.01") == {"transformers", "diffusers", "huggingface-hub"}
    assert set.union(*changed.values()) == set()


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("transformers", "4.57.6", "fsd (transformers>=5.0) needs"),
        ("huggingface-hub", "2.4.0", "transformers needs huggingface-hub"),
        ("tokenizers", "0.19.1", "fsd (tokenizers>=0.20) needs"),
    ],
)
def test_a_conflict_is_found(name: str, version: str, said: str) -> None:
    image = next(image for image in images() if image.name == NEWEST)
    chosen = RECORD["images"][NEWEST]["webui"] | {name: version}
    conflicts = check(image, profiles()["webui"], chosen, RECORD["metadata"]).conflicts
    assert any(said in conflict for conflict in conflicts), conflicts


def test_a_package_for_another_python_is_found() -> None:
    image = next(image for image in images() if image.name == NEWEST)
    metadata: dict[str, Any] = json.loads(json.dumps(RECORD["metadata"]))
    metadata["gradio==6.24.0"]["python"] = "<3.13"
    found = check(image, profiles()["webui"], RECORD["images"][NEWEST]["webui"], metadata)
    assert found.conflicts == ["gradio 6.24.0 is for Python <3.13, not 3.13.15"]


# --- nothing of one image is written down ----------------------------------------------------------------------------

OF_ONE_IMAGE = re.compile(r"python3\.\d|python-3\.\d|dist-packages|/content\b|/usr/local/lib/python")


def test_no_path_of_one_image_is_written_down_outside_runtime() -> None:
    wrong = []
    for path in (ROOT / "fsd").rglob("*.py"):
        if path.is_relative_to(ROOT / "fsd" / "runtime"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and OF_ONE_IMAGE.search(node.value):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.value[:60]!r}")
    assert wrong == []


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_path_of_one_image_is_written_down_in_a_notebook(notebook: Path) -> None:
    assert OF_ONE_IMAGE.findall(notebook.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("literal", ["/usr/lib/python3.12/x", "a/dist-packages", "/content/drive", "/content"])
def test_such_a_path_is_seen(literal: str) -> None:
    assert OF_ONE_IMAGE.search(literal)
    assert not OF_ONE_IMAGE.search("lib/python3*/site-packages contents /contents python 3.12")
