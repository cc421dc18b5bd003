"""The training notebook: thin forms, and run whole, twice, and in a wrong order, under plain Jupyter and as if on Colab."""

from __future__ import annotations

import ast
import copy
import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from notebook_runner import FIELD, ROOT, STAND_IN, check_form, code_cells, error, filled, printed, run_cells, shown

from fsd.command_line import verbs

NOTEBOOK = ROOT / "notebooks" / "fast_dreambooth.ipynb"
CELLS = code_cells(NOTEBOOK)
VERBS = {name.replace("-", "_"): verb for name, verb in verbs().items()}
ORDER = [
    "setup", "open_session", "choose_base_model", "add_photos", "caption_photos",
    "train_text_encoder", "train_unet", "save_ckpt", "generate", "clean_session",
]  # fmt: skip
THIN = [verb for verb in ORDER if verb != "setup"]


def statements(verb: str) -> list[ast.stmt]:
    return ast.parse(TransformerManager().transform_cell(CELLS[verb].source)).body


def call_of(verb: str) -> ast.Call:
    """The call that a cell ends with, also as `session = ...`."""
    last = statements(verb)[-1]
    assert isinstance(last, ast.Expr | ast.Assign)
    assert isinstance(last.value, ast.Call)
    return last.value


def fields(verb: str) -> dict[str, Any]:
    return {match["name"]: ast.literal_eval(match["value"]) for match in FIELD.finditer(CELLS[verb].source)}


def test_the_file_is_a_clean_notebook_for_a_gpu() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == ["intro", *(verb.replace("_", "-") for verb in ORDER)]
    assert notebook.metadata.accelerator == "GPU"
    assert notebook.metadata.colab.gpuType == "T4"
    for cell in CELLS.values():
        assert cell.outputs == []
        assert cell.execution_count is None
        assert cell.metadata == {"cellView": "form"}


def test_the_cells_are_the_verbs_in_order() -> None:
    assert list(CELLS) == ORDER
    for number, cell in enumerate(CELLS.values(), start=1):
        assert cell.source.startswith(f"#@title {number}. ")
        assert len(cell.source.splitlines()) <= 15
        assert len(FIELD.findall(cell.source)) == cell.source.count("#@param") <= 8


@pytest.mark.parametrize("verb", THIN)
def test_a_cell_is_fields_and_one_call(verb: str) -> None:
    *settings, last = statements(verb)
    assert [node.targets[0].id for node in settings] == list(fields(verb))  # type: ignore[attr-defined]
    calls = [node for node in ast.walk(ast.Module([*settings, last], [])) if isinstance(node, ast.Call)]
    assert len(calls) == 1
    assert isinstance(calls[0].func, ast.Name)
    assert calls[0].func.id == verb
    assert VERBS[verb]


def test_only_the_first_cell_installs_and_imports() -> None:
    for verb, cell in CELLS.items():
        assert ("import" in cell.source) == (verb == "setup")
        assert bool(re.search(r"(?m)^\s*[%!]", cell.source)) == (verb == "setup")
    imported = [alias.name for node in statements("setup") if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == sorted([*ORDER, "NotOpened"])


@pytest.mark.parametrize("verb", THIN)
def test_the_form_is_the_signature(verb: str) -> None:
    given = fields(verb)
    parameters = dict(inspect.signature(VERBS[verb]).parameters)
    if parameters.pop("session", None):
        assert ast.unparse(call_of(verb).args[0]) == "session"
    if verb == "generate":
        assert parameters.pop("prompts").kind is inspect.Parameter.VAR_POSITIONAL
        assert given.pop("prompt") == ""  # which is the subject
    if verb == "clean_session":
        assert parameters.pop("what").kind is inspect.Parameter.VAR_POSITIONAL
        assert given.pop("what") == ""  # which lists
    parameters.pop("web_ui", None)  # chosen where it is launched
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    assert [given.pop(name) for name in required] == [""] * len(required)
    assert given == {name: parameter.default for name, parameter in parameters.items() if name not in required}
    for keyword in call_of(verb).keywords:
        assert keyword.arg == ast.unparse(keyword.value)


@pytest.mark.parametrize("verb", ORDER)
def test_the_form_follows_the_grammar(verb: str) -> None:
    check_form(CELLS[verb])


def test_pip_installs_fsd_alone_and_setup_the_rest() -> None:
    source = CELLS["setup"].source
    assert re.findall(r"(?m)^ *%(.*)$", source) == ['pip install -q --no-deps "{source}"']
    assert source.endswith('\nsetup("train", save_wheelhouse=save_wheelhouse)')
    assert fields("setup") == {"source": "", "save_wheelhouse": False}


def test_the_text_says_what_is_needed_and_what_is_forbidden() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    intro = nbformat.read(NOTEBOOK, as_version=4).cells[0].source
    for word in ("ten photos", "T4 GPU", "consent", "deepfakes is forbidden by Colab's terms"):
        assert word in intro
    for word in ("/content", "webui", "web ui", "gradio", "tunnel", "ngrok", "proxy", "token"):
        assert word not in text.lower()


def test_paths_of_colab_are_in_one_room() -> None:
    users = {
        path.parent.name for path in (ROOT / "fsd").rglob("*.py") if "/content" in path.read_text(encoding="utf-8")
    }
    assert users == {"runtime"}


# --- run whole -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image, ImageDraw

    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        photo = Image.new("RGB", (160, 130), (37 * index, 91 * index % 256, 140))
        ImageDraw.Draw(photo).ellipse((20 + 9 * index, 15, 90 + 9 * index, 95), fill=(230, 60 + 20 * index, 30))
        photo.save(folder / f"IMG_{index:04d}.png")
    return folder


@pytest.fixture(scope="module")
def form(micro_model: Path, photos: Path) -> dict[str, dict[str, Any]]:
    """What the user types: a micro model in place of Stable Diffusion, and few steps."""
    return {
        "open_session": {"name": "cup"},
        "choose_base_model": {"base_model": str(micro_model), "family": "tiny"},
        "add_photos": {"photos": str(photos), "identifier": "mafka4", "class_word": "cup", "hold_out": 1},
        "caption_photos": {"template": "a photo of {identifier} {class}"},
        "train_text_encoder": {"steps": 2},
        "train_unet": {"steps": 2},
        "generate": {"images": 2, "steps": 2},
    }


def typed(form: dict[str, dict[str, Any]], *names: str) -> list[Any]:
    """The cells with the form filled in. "look" is the first cell without its installation, which takes some seconds."""
    look = copy.deepcopy(CELLS["setup"])
    look.source = look.source.replace('setup("train", save_wheelhouse=save_wheelhouse)', "setup()")
    return [filled((CELLS | {"look": look})[verb], **form.get(verb, {})) for verb in names]


@pytest.fixture(scope="module")
def twice(form: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """All cells under plain Jupyter, and then all of them again in the same kernel."""
    folder = tmp_path_factory.mktemp("jupyter")
    cells = run_cells(typed(form, *ORDER, *ORDER), folder, [ROOT])
    session = folder / "Fast-Dreambooth" / "Sessions" / "cup"
    first, again = (dict(zip(ORDER, part, strict=True)) for part in (cells[: len(ORDER)], cells[len(ORDER) :]))
    return SimpleNamespace(session=session, first=first, again=again)


def assert_clean(cells: dict[str, Any]) -> None:
    """No errors, nothing on standard error, no warnings, and a value that says something in each cell."""
    for verb, cell in cells.items():
        assert error(cell) == "", verb
        assert printed(cell, "stderr") == "", verb
        text = printed(cell) + shown(cell)
        assert text.strip(), verb
        assert not re.search(r"(?i)warning|traceback|deprecat|\[transformers\]|\x1b", text), text


def test_plain_jupyter_makes_the_model(twice: SimpleNamespace) -> None:
    assert_clean(twice.first)
    session = twice.session
    assert len(list((session / "instance_images").iterdir())) == 2
    assert len(list((session / "held_out_images").iterdir())) == 1
    assert (session / "cup.safetensors").stat().st_size > 600_000
    assert (session / "samples" / "pictures" / "0001" / "grid.png").is_file()
    assert "photo of mafka4 cup" in shown(twice.first["caption_photos"])


def test_pictures_are_shown_in_the_notebook(twice: SimpleNamespace) -> None:
    for verb in ("add_photos", "train_text_encoder", "train_unet", "generate"):
        last = twice.first[verb].outputs[-1]
        assert "image/png" in last.data, verb
        assert re.search(r"\S+\.png|steps", last.data["text/plain"])


def test_progress_is_a_line_with_figures(twice: SimpleNamespace) -> None:
    for verb, label in (("train_text_encoder", "text encoder"), ("train_unet", "unet"), ("generate", "pictures")):
        lines = [line for line in printed(twice.first[verb]).splitlines() if line.strip()]
        bar = next(line for line in lines if line.lower().startswith(f"{label}: 100%"))
        assert re.search(r"steps/s|s/ steps", bar)
        assert "loss=" in bar or label == "pictures"
        assert len(lines) <= 3, lines


def test_every_cell_can_be_run_again(twice: SimpleNamespace) -> None:
    assert_clean(twice.again)
    assert "are done already" in printed(twice.again["train_text_encoder"])
    assert "are done already" in printed(twice.again["train_unet"])
    assert shown(twice.again["add_photos"]).startswith("0 photos added")
    assert len(list((twice.session / "instance_images").iterdir())) == 2
    checkpoints = sorted(path.name for path in (twice.session / "checkpoints").iterdir())
    assert checkpoints == ["text_encoder-000002", "unet-000002"]


ON_COLAB = """
import sys
from pathlib import Path
sys.modules["fsd"] = None  # as if it were not installed

def pip(line):
    print("pip", line)
    del sys.modules["fsd"]
    sys.path.insert(0, {root!r})
    from fsd.runtime import colab
    colab.MOUNT_POINT = Path({mount!r})

get_ipython().register_magic_function(pip, magic_name="pip")
"""


def test_colab_from_the_install_to_the_model_on_drive(
    form: dict[str, dict[str, Any]], photos: Path, tmp_path: Path
) -> None:
    machine, drive = tmp_path / "machine", tmp_path / "drive"
    machine.mkdir()
    before = SimpleNamespace(source=ON_COLAB.format(root=str(ROOT), mount=str(drive)))
    form = form | {"add_photos": form["add_photos"] | {"photos": ""}}
    unsaid, said = typed(form, "setup"), typed(form | {"setup": {"source": "fsd.whl"}}, "setup")
    cells = [before, *unsaid, *said, *typed(form, *ORDER[1:], "look", "open_session", "add_photos")]
    _, refused, *cells = run_cells(cells, machine, [STAND_IN], COLAB_STAND_IN_UPLOADS=str(photos))
    first, again = dict(zip(ORDER, cells, strict=False)), cells[len(ORDER) :]
    assert_clean(first)
    assert "write in the field 'source' where it comes from" in error(refused)
    assert printed(first["setup"]) == 'pip install -q --no-deps "fsd.whl"\n'
    assert "on Colab" in shown(first["setup"]) and "nothing to install" in shown(first["setup"])
    told = printed(first["open_session"]).splitlines()
    assert told[0].startswith("Google asks you")
    assert told[1:3] == [f"Mounted at {drive}", f"session cup: {drive}/MyDrive/Fast-Dreambooth/Sessions/cup"]
    assert told[3].startswith("note: no identifier and no class word yet")
    assert (drive / "MyDrive" / "Fast-Dreambooth" / "Sessions" / "cup" / "cup.safetensors").is_file()
    assert list(machine.iterdir()) == []
    assert_clean(dict(zip(["setup", "open_session", "add_photos"], again, strict=True)))
    assert "pip" not in printed(again[0])
    assert "Mounted" not in printed(again[1])
    assert shown(again[2]).startswith("0 photos added")


def test_cells_run_too_early_say_which_comes_first(form: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    order = [
        *(("look", ""), *((verb, "open_session") for verb in ORDER[2:])),
        *(("open_session", ""), ("caption_photos", "add_photos"), ("train_text_encoder", "add_photos")),
        *(("train_unet", "add_photos"), ("save_ckpt", "train_unet"), ("generate", "choose_base_model")),
        *(("clean_session", ""), ("add_photos", ""), ("caption_photos", "choose_base_model")),
        *(("train_text_encoder", "choose_base_model"), ("choose_base_model", "")),
        *(("train_unet", "train_text_encoder"), ("save_ckpt", "train_unet"), ("look", ""), ("caption_photos", "")),
    ]
    cells = run_cells(typed(form, *(verb for verb, _ in order)), tmp_path, [ROOT])
    for (verb, first), cell in zip(order, cells, strict=True):
        said = error(cell)
        if not first:
            assert said == "", verb
            continue
        assert "What to do: " in said, (verb, said)
        assert first in said.partition("What to do: ")[2], (verb, said)
        assert len(said.splitlines()) == 2, said


def test_the_stop_button_saves(form: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    session = tmp_path / "Fast-Dreambooth" / "Sessions" / "cup"
    form = form | {"train_text_encoder": {"steps": 0}, "train_unet": {"steps": 100_000}}
    cells = typed(form, "look", *(verb for verb in ORDER[1:7] if verb != "caption_photos"))

    def training() -> bool:
        figures = session / "logs" / "metrics.jsonl"
        return figures.is_file() and figures.stat().st_size > 0

    *_, skipped, stopped = run_cells(cells, tmp_path, [ROOT], training)
    assert "0 steps, nothing to train" in shown(skipped)
    (saved,) = (session / "checkpoints").iterdir()
    reached = int(saved.name[-6:])
    told = f"stopped after step {reached} of 100000; everything is saved; run the same command to go on"
    assert error(stopped).splitlines() == [told]
