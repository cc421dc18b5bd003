"""What fsd installs fits on top of every recorded image of Colab, and no path of one image is written down in fsd.

Offline: `colab/resolve.py` asked the registry, and recorded what it chose with its requirements. Covered: every
requirement from fsd's own on, for the image's Python, Linux and processor, through everything that was chosen. Not
covered: what the images have beyond the recorded packages, and whether versions that agree on paper run together.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from notebook_runner import ROOT
from packaging.requirements import Requirement
from recorded_images import Recorded, asked_for, check, extras, images, profiles, resolution

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


def test_the_record_is_of_what_is_asked_for_now() -> None:
    assert RECORD["asked_for"] == asked_for(), "what fsd asks for, or an image, has changed: run tests/colab/resolve.py"


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

OF_ONE_IMAGE = re.compile(r"python-?3\.[\d{]|dist-packages|/content\b|/usr/local/lib/python")
ROOMS = ("fsd", "notebooks", "wheels", "docs", ".ci")


def texts() -> Iterator[tuple[Path, str]]:
    """Every text of the project that may hold no path of one image: all but fsd/runtime and the tests."""
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*")) if path.is_file()]
    for path in [*files, *(path for path in sorted(ROOT.iterdir()) if path.is_file())]:
        if not path.is_relative_to(ROOT / "fsd" / "runtime") and "__pycache__" not in path.parts:
            with suppress(UnicodeDecodeError):
                yield path, path.read_text(encoding="utf-8")


def of_one_image(text: str, python: bool) -> list[str]:
    """The paths of one image in a text, in Python's also those whose parts are joined by a plus or an f-string."""
    found = OF_ONE_IMAGE.findall(text)
    for node in ast.walk(ast.parse(text)) if python else ():
        if (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)) or isinstance(node, ast.JoinedStr):
            found += OF_ONE_IMAGE.findall(_joined(node))
    return found


def _joined(node: ast.AST) -> str:
    """The text that a node comes to, with "{" for what only a run tells."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_joined, node.values))
    if isinstance(node, ast.FormattedValue):
        return _joined(node.value) if isinstance(node.value, ast.Constant) else "{"
    return _joined(node.left) + _joined(node.right) if isinstance(node, ast.BinOp) else "{"


def test_no_path_of_one_image_is_written_down_outside_runtime() -> None:
    looked_at = dict(texts())
    assert {path.suffix for path in looked_at} >= {".py", ".ipynb", ".md", ".toml", ".txt", ".json"}
    wrong = {path: found for path, text in looked_at.items() if (found := of_one_image(text, path.suffix == ".py"))}
    assert wrong == {}


@pytest.mark.parametrize(
    "text",
    [
        *("'/usr/lib/python3.12/x'", "'a/dist-packages'", "'/content/drive'", "# as in /content", "b'/content'"),
        *("f'{home}/python3.{minor}'", "f'python3.{12}/x'", "'python3.' + '12'", "'/con' + 'tent/' + name"),
        "subprocess.run('ls /content | head', shell=True)",
    ],
)
def test_such_a_path_is_seen(text: str) -> None:
    assert of_one_image(text, python=True)


def test_other_paths_are_not() -> None:
    assert not of_one_image(
        "'lib/python3*/site-packages contents /contents python 3.12' + f'lib/python{version}'", True
    )
