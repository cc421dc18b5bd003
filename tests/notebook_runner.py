"""Runs a notebook in a kernel of its own, with its form filled in, and gives back what each cell showed."""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
STAND_IN = ROOT / "tests" / "colab"
FIELD = re.compile(r"(?m)^(?P<name>\w+) = (?P<value>.*?) #@param ?(?P<form>.*)$")


def code_cells(path: Path) -> dict[str, Any]:
    """The code cells of a notebook by the verb that their title names: "3. Choose base model" is choose_base_model."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return {verb_of(cell): cell for cell in cells}


def verb_of(cell: Any) -> str:
    """The title of a cell as a verb."""
    title = re.match(r"#@title \d+\. (.*)", cell.source)
    assert title, cell.source
    return title[1].lower().replace(" ", "_")


def check_form(cell: Any) -> None:
    """Assert that each field of a cell is written as Colab's page reads it: a literal, and a form that fits it."""
    for match in FIELD.finditer(cell.source):
        value, form = ast.literal_eval(match["value"]), match["form"]
        if form.startswith("["):
            choices, _, more = form.partition("]")
            assert value in json.loads(choices + "]")
            assert more in ("", " {allow-input: true}")
        else:
            kind = re.fullmatch(r'\{type:"(\w+)"(, placeholder:"[^"]+")?\}', form)
            assert kind, form
            assert type(value) is {"string": str, "integer": int, "boolean": bool, "raw": type(None)}[kind[1]]


def filled(cell: Any, **values: Any) -> Any:
    """A copy of a cell with other values in its form, as the page of the notebook writes them."""
    names = {match["name"] for match in FIELD.finditer(cell.source)}
    assert values.keys() <= names, f"{values.keys() - names} are not fields of {verb_of(cell)}"

    def value(match: re.Match[str]) -> str:
        literal = _literal(values[match["name"]]) if match["name"] in values else match["value"]
        return f"{match['name']} = {literal} #@param {match['form']}"

    cell = copy.deepcopy(cell)
    cell.source = FIELD.sub(value, cell.source)
    return cell


def _literal(value: Any) -> str:
    """A value as the page of the notebook writes it: Python's words, and texts in double quotes."""
    return repr(value) if value is None or isinstance(value, bool) else json.dumps(value)


def run_cells(
    cells: list[Any],
    folder: Path,
    python_path: list[Path],
    stop_when: Callable[[], bool] | None = None,
    **environment: str,
) -> list[Any]:
    """Run cells one after another in a fresh kernel in `folder`; errors stay in the outputs. Returns the cells.

    Packages come from no registry, unless the environment names one.
    stop_when: as soon as it is true the kernel is interrupted, once, as by the notebook's stop button.
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.source) for cell in cells])
    settings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, python_path))}
    settings |= {"FSD_OVERLAY": str(folder / ".overlay"), "UV_NO_INDEX": "1"}
    settings.pop("FSD_HOME", None)
    client = NotebookClient(notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(folder)}})
    if stop_when:
        Thread(target=_stop, args=(client, stop_when), daemon=True).start()
    client.execute(env=settings | environment)
    return notebook.cells


def _stop(client: NotebookClient, stop_when: Callable[[], bool]) -> None:
    while not stop_when():
        time.sleep(0.1)
    os.kill(client.km.provisioner.pid, signal.SIGINT)


def printed(cell: Any, stream: str = "stdout") -> str:
    """What a cell wrote on a stream, as the last redrawing of each line leaves it."""
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == stream)
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))


def shown(cell: Any) -> str:
    """The value that a cell ends with, as text."""
    return "".join(output.data["text/plain"] for output in cell.outputs if output.output_type == "execute_result")


def error(cell: Any) -> str:
    """What a cell shows when it failed, empty when it did not."""
    return "\n".join(line for o in cell.outputs if o.output_type == "error" for line in o.traceback)
