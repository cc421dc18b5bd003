"""The captions notebook: thin forms, and run whole under plain Jupyter and as if on Colab."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from micro import draw_photos
from notebook_runner import FIELD, ROOT, STAND_IN, check_form, code_cells, error, filled, printed, run_cells, shown
from tiny_blip import make_blip, make_blip2, make_blip2_matcher

from fsd.command_line import verbs

BOOK = ROOT / "notebooks" / "fast_captions.ipynb"
ORDER = [
    "setup", "open_session", "add_photos", "caption_photos", "edit_captions", "ask_photos", "score_captions",
    "teach_captioner",
]  # fmt: skip
VERBS = {name.replace("-", "_"): verb for name, verb in verbs().items()}
DEFAULTS = {"caption_photos": {"mode": "blip2"}}
"""What a form of this notebook sets otherwise than the verb does."""


@pytest.fixture(scope="module")
def cells() -> dict[str, Any]:
    return code_cells(BOOK)


def call_in(cell: Any) -> ast.Call:
    last = ast.parse(TransformerManager().transform_cell(cell.source)).body[-1]
    assert isinstance(last, ast.Expr | ast.Assign) and isinstance(last.value, ast.Call)
    return last.value


def test_eight_cells_each_a_form_and_one_call(cells: dict[str, Any]) -> None:
    notebook = nbformat.read(BOOK, as_version=4)
    nbformat.validate(notebook)
    assert list(cells) == ORDER
    assert [cell.id for cell in notebook.cells] == ["intro", *(verb.replace("_", "-") for verb in ORDER)]
    for number, (verb, cell) in enumerate(cells.items(), start=1):
        assert cell.source.startswith(f"#@title {number}. ") and len(cell.source.splitlines()) <= 17
        assert cell.outputs == [] and cell.execution_count is None
        check_form(cell)
        call = call_in(cell)
        assert isinstance(call.func, ast.Name) and call.func.id == verb
    for word in ("/content", "webui", "web ui", "gradio", "tunnel", "ngrok", "proxy", "token"):
        assert word not in BOOK.read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("verb", ORDER[1:])
def test_the_form_is_the_signature(cells: dict[str, Any], verb: str) -> None:
    given = {match["name"]: ast.literal_eval(match["value"]) for match in FIELD.finditer(cells[verb].source)}
    parameters = dict(inspect.signature(VERBS[verb]).parameters)
    parameters.pop("session", None)
    defaults = {name: "" if one.default is one.empty else one.default for name, one in parameters.items()}
    assert given == defaults | DEFAULTS.get(verb, {})
    for keyword in call_in(cells[verb]).keywords:
        assert ast.unparse(keyword.value) == keyword.arg


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the user types: tiny models in place of the real ones."""
    root = tmp_path_factory.mktemp("captions")
    speaks, matches, asks = make_blip2(root / "blip2"), make_blip2_matcher(root / "itm"), root / "vqa"
    make_blip(asks, "BlipForQuestionAnswering")
    return {
        "open_session": {"name": "cup"},
        "add_photos": {
            "photos": str(draw_photos(root / "photos", 3)), "identifier": "mafka4", "class_word": "cup"
        },
        "caption_photos": {
            "captioner": str(speaks), "prefix": "photo of {identifier} {class},", "generation": "num_beams=2 max_new_tokens=4"
        },
        "ask_photos": {"question": "Is it red?", "captioner": str(asks)},
        "score_captions": {"captioner": str(matches)},
        "teach_captioner": {"captioner": str(speaks), "steps": 2},
    }  # fmt: skip


def typed(cells: dict[str, Any], form: dict[str, dict[str, Any]], *names: str) -> list[Any]:
    return [filled(cells[verb], **form.get(verb, {})) for verb in names]


def need_clean(ran: dict[str, Any]) -> None:
    for verb, cell in ran.items():
        assert error(cell) == "", verb
        text = printed(cell) + shown(cell)
        assert verb in ("edit_captions",) or text.strip(), verb
        assert not re.search(r"(?i)warning|traceback|deprecat|\[transformers\]|\x1b", text + printed(cell, "stderr")), (
            text
        )


def test_it_runs_whole_and_again(cells: dict[str, Any], form: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    again = ["caption_photos", "teach_captioner"]
    ran = run_cells(typed(cells, form, *ORDER, *again), tmp_path, [ROOT])
    first = dict(zip(ORDER, ran, strict=False))
    need_clean(first)
    session = tmp_path / "Fast-Dreambooth" / "Sessions" / "cup"
    captions = [path.read_text().strip() for path in sorted((session / "captions").glob("*.txt"))]
    assert len(captions) == 3 and all(text.startswith("photo of {identifier} {class},") for text in captions)
    assert "photo of mafka4 cup," in shown(first["caption_photos"])
    assert shown(first["ask_photos"]).count("IMG_") == 3
    assert shown(first["score_captions"]).splitlines()[0].split() == ["photo", "matching", "contrast", "caption"]
    assert re.search(
        r"loss on these captions, of too few to keep some apart: \d+\.\d+ before, \d+\.\d+ after",
        shown(first["teach_captioner"]),
    )
    assert (session / "checkpoints/captioner-000002/captioner/adapter.safetensors").is_file()
    assert "application/vnd.jupyter.widget-view+json" in json.dumps(first["edit_captions"].outputs)
    captioned, taught = ran[len(ORDER) :]
    assert "0 captions written" in shown(captioned)
    assert "are done already" in printed(taught)


def test_it_opens_its_session_on_drive(cells: dict[str, Any], form: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    machine, drive = tmp_path / "machine", tmp_path / "drive"
    machine.mkdir()
    mount = f"from pathlib import Path\nfrom fsd.runtime import colab\ncolab.MOUNT_POINT = Path({str(drive)!r})"
    before = type("Cell", (), {"source": mount})()
    ran = run_cells([before, *typed(cells, form, *ORDER[:5])], machine, [ROOT, STAND_IN])
    need_clean(dict(zip(ORDER, ran[1:], strict=False)))
    captions = list(drive.rglob("captions/*.txt"))
    assert len(captions) == 3
