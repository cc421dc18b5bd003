"""Which web UIs are judged by one test, and what is true of each.

The studio is always judged, and so is the stand-in for AUTOMATIC1111 by what was recorded of it. AUTOMATIC1111 itself is
where FSD_A1111 names an installation: a folder in which `FSD_WEBUI_HOME=FOLDER fsd webui install` has run. The slow test
needs 16 GB of memory. FSD_A1111_RECORD names a file to write the recording to: tests/recorded/a1111.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from same_models import Files, few_files, full_files, small_files
from same_picture import FAR, OTHER_PROMPT, PROMPT, Client, apart, as_png, request
from stand_in_server import install_stand_in

from fsd.webui.flavors import A1111
from fsd.webui.install import find_installed

HOME = os.environ.get("FSD_A1111", "")
RECORD = os.environ.get("FSD_A1111_RECORD", "")


def shows_it(client: Client) -> str:
    """A file with missing keys is loaded, and its pictures are others."""
    difference = apart(client.draw("lacking.safetensors"), client.draw("tiny.safetensors"))
    assert difference > FAR
    return f"{difference} of 255"


def refuses_it(client: Client) -> str:
    """A file with missing keys is refused with one line of text."""
    with pytest.raises(HTTPError) as caught:
        client.draw("lacking.safetensors")
    told = json.load(caught.value)
    assert caught.value.code == 422 and "output_blocks.7" in told["errors"] and "Traceback" not in told["errors"]
    return f"refused: {told['detail']}"


@dataclass(frozen=True)
class WebUi:
    """A web UI to be judged. ui: its name for the launcher. install: has the launcher find it, below a folder.

    files: what it is shown. layered: its name for the model that has a LoRA. missing: what missing keys lead to.
    unit: (module, model) of a ControlNet's unit that changes a picture of the model `controlled`.
    """

    ui: str
    install: Callable[[Path, pytest.MonkeyPatch], None]
    files: Callable[[Path, Path], Files] = small_files
    layered: str = "layered.safetensors"
    missing: Callable[[Client], str] = shows_it
    controlled: str = "layered.safetensors"
    unit: tuple[str, str] = ("reference_only", "None")


def installed(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("FSD_WEBUI_HOME", HOME)
    assert find_installed(A1111), f"in {HOME} is no installation of today's pins"


def stand_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    install_stand_in("ready", folder / "app", patch)


WEB_UIS = {
    "studio": WebUi(
        "studio", lambda folder, patch: None, layered="layered-folder", missing=refuses_it, controlled="tiny.safetensors",
        unit=("canny", "tiny-control"),
    ),
    "a1111": WebUi("a1111", installed),
    "a1111 at full size": WebUi("a1111", installed, full_files),
    "stand-in": WebUi("a1111", stand_in, few_files),
}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A web UI that runs. files: what it was shown."""

    web_ui: WebUi
    client: Client
    files: Files


def judged(*names: str) -> Any:
    """Run the test for each of these web UIs, one launch for all tests."""
    missing = pytest.mark.skipif(not HOME, reason="FSD_A1111 names no installation of AUTOMATIC1111")
    marks = {"a1111": [missing], "a1111 at full size": [missing, pytest.mark.slow]}
    return pytest.mark.parametrize(
        "judge", [pytest.param(name, marks=marks.get(name, [])) for name in names], indirect=True
    )


def record(client: Client) -> None:
    """Write what the stand-in replays: whole answers by their paths, and pictures with what was asked."""
    paths = ("/sdapi/v1/scripts", "/sdapi/v1/progress", "/controlnet/version", "/controlnet/module_list")
    pictures = [
        {"request": request(prompt=prompt), "image": as_png(client.draw("tiny.safetensors", prompt=prompt))}
        for prompt in (PROMPT, OTHER_PROMPT)
    ]
    kept = {"answers": {path: client.ask(path) for path in paths}, "pictures": pictures}
    Path(RECORD).write_text(json.dumps(kept, indent=1) + "\n")
