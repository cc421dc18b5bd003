"""The web UI's notebook: thin forms, plain about Colab's rules, and run whole with the stand-in of the studio."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from notebook_runner import FIELD, ROOT, STAND_IN, check_form, code_cells, error, filled, printed, run_cells, shown

from fsd import serving

NOTEBOOK = ROOT / "notebooks" / "fast_webui.ipynb"
CELLS = code_cells(NOTEBOOK)
CALLS = {
    "setup": "setup",
    "install_web_ui": "webui_install",
    "add_controlnet": "controlnet_add",
    "launch_web_ui": "launch_webui",
    "new_login_link": "webui.new_login_link",
    "logs": "webui.logs",
    "stop": "webui.stop",
}
ORDER = list(CALLS)
THIN = ORDER[1:]
FORMS = [cell for cell, call in CALLS.items() if hasattr(serving, call)]


def statements(cell: str) -> list[ast.stmt]:
    return ast.parse(TransformerManager().transform_cell(CELLS[cell].source)).body


def fields(cell: str) -> dict[str, Any]:
    return {match["name"]: ast.literal_eval(match["value"]) for match in FIELD.finditer(CELLS[cell].source)}


def test_it_is_a_clean_notebook_of_eight_cells() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == ["intro", *(name.replace("_", "-") for name in ORDER)]
    assert len(notebook.cells) <= 8
    assert notebook.metadata.colab.gpuType == "T4"
    for number, (name, cell) in enumerate(CELLS.items(), start=1):
        assert name == ORDER[number - 1]
        assert cell.source.startswith(f"#@title {number}. ")
        assert len(cell.source.splitlines()) <= 15
        assert (cell.outputs, cell.execution_count, cell.metadata) == ([], None, {"cellView": "form"})


@pytest.mark.parametrize("cell", THIN)
def test_a_cell_is_fields_and_one_call(cell: str) -> None:
    *settings, last = statements(cell)
    assert [node.targets[0].id for node in settings] == list(fields(cell))  # type: ignore[attr-defined]
    calls = [node for node in ast.walk(ast.Module([*settings, last], [])) if isinstance(node, ast.Call)]
    assert [ast.unparse(call.func) for call in calls] == [CALLS[cell]]


@pytest.mark.parametrize("cell", FORMS)
def test_the_form_is_the_signature(cell: str) -> None:
    given = fields(cell)
    parameters = inspect.signature(getattr(serving, CALLS[cell])).parameters
    assert list(given) == list(parameters)
    for name, parameter in parameters.items():
        assert given[name] == ("" if parameter.default is parameter.empty else parameter.default)


@pytest.mark.parametrize("cell", ORDER)
def test_the_form_follows_the_grammar(cell: str) -> None:
    check_form(CELLS[cell])


def test_the_choices_are_those_that_there_are() -> None:
    from fsd.families import FAMILIES
    from fsd.webui.flavors import FLAVORS
    from fsd.webui.tunnels import TUNNELS

    def choices(cell: str, name: str) -> list[str]:
        match = next(match for match in FIELD.finditer(CELLS[cell].source) if match["name"] == name)
        return json.loads(match["form"].partition("]")[0] + "]")

    assert set(choices("launch_web_ui", "tunnel")) == {"auto", *TUNNELS}
    assert set(choices("launch_web_ui", "ui")) == {"", "studio", *FLAVORS}
    assert set(choices("install_web_ui", "flavor")) == set(FLAVORS)
    assert set(choices("add_controlnet", "model")) - {""} <= set(FAMILIES)


def test_it_is_plain_about_the_rules() -> None:
    intro = nbformat.read(NOTEBOOK, as_version=4).cells[0].source
    for words in (
        "Colab forbids web UIs on its free tier",
        "disconnects runtimes",
        "paid compute units",
        "nothing",
        "*Generate* of\n`fast_dreambooth.ipynb`",
        "deepfakes is forbidden by Colab's terms",
        "consent",
    ):
        assert words in intro
    assert fields("launch_web_ui")["paid_units"] is False
    source = "".join(cell.source for cell in CELLS.values())
    for hiding in ("base64", "exec(", "eval(", "decode", "rot13", "chr("):
        assert hiding not in source


# --- run whole -------------------------------------------------------------------------------------------------------

BEFORE = """
from pathlib import Path
import fsd.webui.install
from fsd.webui.install import Installed
fsd.webui.install.install = lambda flavor, *_: Installed(flavor, Path("app"), Path("python"), {})
fsd.webui.install.find_installed = lambda flavor: None
"""
STAND_IN_FOR_STUDIO = """
import sys
from types import SimpleNamespace
sys.path.append({tests!r})
from stand_in_server import server
sys.modules["fsd.webui.studio.server"] = SimpleNamespace(
    studio_server=lambda root, port, model: server("ready", port, Path.cwd()))
"""
ON_COLAB = """
from fsd.runtime import colab
colab.MOUNT_POINT = Path({mount!r})
"""


def typed(cell: str, **values: Any) -> Any:
    return filled(CELLS[cell], **values)


def before(more: str = "") -> SimpleNamespace:
    """A cell of the tests that comes first: nothing is installed, and to install takes no time."""
    return SimpleNamespace(source=BEFORE + more)


def clean(cell: Any) -> str:
    """What a cell showed; it had no error, no warning and nothing on standard error."""
    assert error(cell) == ""
    assert printed(cell, "stderr") == ""
    text = printed(cell) + shown(cell)
    assert not re.search(r"(?i)warning|traceback|deprecat|\x1b", text), text
    return text


def test_it_runs_with_the_studio(tmp_path: Path) -> None:
    names = ["setup", "stop", "install_web_ui", "add_controlnet", "launch_web_ui"]
    names += ["new_login_link", "logs", "stop", "new_login_link", "setup"]
    form: dict[str, dict[str, Any]] = {
        "add_controlnet": {"what": "canny", "model": "cup"},
        "launch_web_ui": {"model": "tiny"},
        "logs": {"lines": 20},
    }
    cells = run_cells([before(), *(typed(name, **form.get(name, {})) for name in names)], tmp_path, [ROOT])
    _, setup, early, installed, nobody, launched, link, logs, stopped, late, last = cells
    assert "Python" in clean(setup)
    said = ["no web UI runs", "  What to do: run the cell 'Launch web UI' first: launch_webui"]
    assert error(early).splitlines() == said
    assert clean(installed).startswith("AUTOMATIC1111 1.10.1: ")
    assert error(nobody).splitlines()[0].startswith("there is no model 'cup'")
    assert len(error(nobody).splitlines()) == 2
    text = clean(launched)
    url = re.search(r"fsd studio is ready: (http://127\.0\.0\.1:\d+)", text)
    assert url, text
    assert f"log in (this link opens once): {url[1]}/fsd/login?token=" in text
    assert clean(link).startswith(f"{url[1]}/fsd/login?token=")
    assert clean(link) not in text
    assert "Startup time: " in clean(logs)
    assert clean(stopped) == ""
    assert "does not run any more" in error(late)
    assert "Python" in clean(last)


def test_on_colab_it_asks_for_paid_units_first(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    first = before(STAND_IN_FOR_STUDIO.format(tests=str(ROOT / "tests")) + ON_COLAB.format(mount=str(drive)))
    launch = typed("launch_web_ui", model="tiny", tunnel="none", paid_units=True)
    cells = [first, typed("setup"), typed("launch_web_ui", model="tiny"), launch, launch, typed("stop")]
    _, setup, refused, launched, again, stopped = run_cells(cells, tmp_path, [ROOT, STAND_IN])
    assert "on Colab" in clean(setup)
    assert error(refused).splitlines() == [
        "Colab forbids web UIs on its free tier, and disconnects runtimes without paid compute units that run one",
        "  What to do: tick paid_units if your account has compute units; without them draw with the cell 'Generate' of "
        "the notebook fast_dreambooth.ipynb, which is allowed",
    ]
    assert not printed(refused)
    assert "Stand-in is ready" in clean(launched)
    assert "Stand-in is stopped first" in clean(again)
    assert (drive / "MyDrive" / "WebUI" / "studio" / "logs" / "webui.log").is_file()
    clean(stopped)
