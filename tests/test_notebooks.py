"""The training notebooks: thin forms, and run whole, twice, and in a wrong order, under plain Jupyter and as if on Colab."""

from __future__ import annotations

import ast
import copy
import inspect
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from notebook_runner import FIELD, ROOT, STAND_IN, check_form, code_cells, error, filled, printed, run_cells, shown

from fsd.command_line import verbs
from fsd.families import FAMILIES
from fsd.families.rules import can_train
from fsd.recipe import load_recipe

VERBS = {name.replace("-", "_"): verb for name, verb in verbs().items()}
_BEFORE = ["setup", "open_session", "choose_base_model"]
_PHOTOS = ["add_photos", "caption_photos"]
_AFTER = ["generate", "clean_session"]


@dataclass(frozen=True)
class Book:
    """A notebook. method: what it trains by. order: its verbs. stages: those that it trains. file: what it makes."""

    name: str
    method: str
    order: list[str]
    stages: dict[str, str]
    file: str
    least_bytes: int

    @property
    def path(self) -> Path:
        return ROOT / "notebooks" / self.name

    @cached_property
    def cells(self) -> dict[str, Any]:
        return code_cells(self.path)

    @property
    def families(self) -> list[str]:
        return sorted(name for name, family in FAMILIES.items() if can_train(family, self.method))

    def statements(self, verb: str) -> list[ast.stmt]:
        return ast.parse(TransformerManager().transform_cell(self.cells[verb].source)).body

    def call_of(self, verb: str) -> ast.Call:
        """The call that a cell ends with, also as `session = ...`."""
        last = self.statements(verb)[-1]
        assert isinstance(last, ast.Expr | ast.Assign)
        assert isinstance(last.value, ast.Call)
        return last.value

    def fields(self, verb: str) -> dict[str, Any]:
        return {match["name"]: ast.literal_eval(match["value"]) for match in FIELD.finditer(self.cells[verb].source)}


BOOKS = [
    Book(
        "fast_dreambooth.ipynb", "full",
        [*_BEFORE, *_PHOTOS, "train_text_encoder", "train_unet", "save_ckpt", *_AFTER],
        {"train_text_encoder": "text encoder", "train_unet": "unet"}, "cup.safetensors", 600_000,
    ),
    Book(
        "fast_lora.ipynb", "lora", [*_BEFORE, "plan_session", *_PHOTOS, "train_lora", "save_lora", *_AFTER],
        {"train_lora": "lora"}, "loras/cup.safetensors", 5_000,
    ),
]  # fmt: skip
every_cell = pytest.mark.parametrize(
    ("book", "verb"), [pytest.param(book, verb, id=f"{book.method}-{verb}") for book in BOOKS for verb in book.order]
)


@pytest.fixture(scope="module", params=BOOKS, ids=[book.method for book in BOOKS])
def book(request: pytest.FixtureRequest) -> Book:
    return request.param


def test_the_file_is_a_clean_notebook_for_a_gpu(book: Book) -> None:
    notebook = nbformat.read(book.path, as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == ["intro", *(verb.replace("_", "-") for verb in book.order)]
    assert notebook.metadata.accelerator == "GPU"
    assert notebook.metadata.colab.gpuType == "T4"
    for cell in book.cells.values():
        assert cell.outputs == []
        assert cell.execution_count is None
        assert cell.metadata == {"cellView": "form"}


def test_the_cells_are_at_most_ten_verbs_in_order(book: Book) -> None:
    assert list(book.cells) == book.order and len(book.order) <= 10
    for number, cell in enumerate(book.cells.values(), start=1):
        assert cell.source.startswith(f"#@title {number}. ")
        assert len(cell.source.splitlines()) <= 16
        assert len(FIELD.findall(cell.source)) == cell.source.count("#@param") <= 8


@every_cell
def test_a_cell_is_fields_and_one_call(book: Book, verb: str) -> None:
    if verb == "setup":
        return  # which also installs and imports
    *settings, last = book.statements(verb)
    assert [node.targets[0].id for node in settings] == list(book.fields(verb))  # type: ignore[attr-defined]
    calls = [node for node in ast.walk(ast.Module([*settings, last], [])) if isinstance(node, ast.Call)]
    assert len(calls) == 1
    assert isinstance(calls[0].func, ast.Name)
    assert calls[0].func.id == verb
    assert VERBS[verb]


def test_only_the_first_cell_installs_and_imports(book: Book) -> None:
    for verb, cell in book.cells.items():
        assert ("import" in cell.source) == (verb == "setup")
        assert bool(re.search(r"(?m)^\s*[%!]", cell.source)) == (verb == "setup")
    imported = [alias.name for node in book.statements("setup") if isinstance(node, ast.ImportFrom)
                for alias in node.names]  # fmt: skip
    assert sorted(imported) == sorted([*book.order, "edit_captions", "NotOpened"])


@every_cell
def test_the_form_is_the_signature(book: Book, verb: str) -> None:
    if verb == "setup":
        return  # which asks where fsd comes from
    given = book.fields(verb)
    parameters = dict(inspect.signature(VERBS[verb]).parameters)
    if parameters.pop("session", None):
        assert ast.unparse(book.call_of(verb).args[0]) == "session"
    if verb == "generate":
        assert parameters.pop("prompts").kind is inspect.Parameter.VAR_POSITIONAL
        assert given.pop("prompt") == ""  # which is the subject
    if verb == "clean_session":
        assert parameters.pop("what").kind is inspect.Parameter.VAR_POSITIONAL
        assert given.pop("what") == ""  # which lists
    parameters.pop("web_ui", None)  # chosen where it is launched
    if verb == "plan_session":
        assert parameters.pop("method")
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    assert [given.pop(name) for name in required] == [""] * len(required)
    assert given == {name: parameter.default for name, parameter in parameters.items() if name not in required}
    for keyword in book.call_of(verb).keywords:
        assert ast.unparse(keyword.value) == (repr(book.method) if keyword.arg == "method" else keyword.arg)


@every_cell
def test_the_form_follows_the_grammar(book: Book, verb: str) -> None:
    check_form(book.cells[verb])


def test_every_family_that_can_be_trained_so_is_offered(book: Book) -> None:
    lists = re.findall(r"#@param (\[.*?\])", book.cells["choose_base_model"].source)
    assert [sorted(filter(None, json.loads(one))) for one in lists] == [book.families] * 2


def test_pip_installs_fsd_alone_and_setup_the_rest(book: Book) -> None:
    source = book.cells["setup"].source
    assert re.findall(r"(?m)^ *%(.*)$", source) == ['pip install -q --no-deps "{source}"']
    assert source.endswith('\nsetup("train", save_wheelhouse=save_wheelhouse)')
    assert book.fields("setup") == {"source": "", "save_wheelhouse": False}


def test_the_text_says_what_is_needed_and_what_is_forbidden(book: Book) -> None:
    text = book.path.read_text(encoding="utf-8")
    intro = nbformat.read(book.path, as_version=4).cells[0].source
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
        "plan_session": {"use": True},
        "train_lora": {"steps": 2, "rank": 2},
        "generate": {"images": 2, "steps": 2, "compare": True},
    }


def typed(book: Book, form: dict[str, dict[str, Any]], *names: str) -> list[Any]:
    """The cells with the form filled in. "look" is the first cell without its installation, which takes some seconds."""
    look = copy.deepcopy(book.cells["setup"])
    look.source = look.source.replace('setup("train", save_wheelhouse=save_wheelhouse)', "setup()")
    return [filled((book.cells | {"look": look})[verb], **form.get(verb, {})) for verb in names]


@pytest.fixture(scope="module")
def twice(book: Book, form: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """All cells under plain Jupyter, and then all of them again in the same kernel."""
    folder = tmp_path_factory.mktemp("jupyter")
    order = book.order
    cells = run_cells(typed(book, form, *order, *order), folder, [ROOT])
    session = folder / "Fast-Dreambooth" / "Sessions" / "cup"
    first, again = (dict(zip(order, part, strict=True)) for part in (cells[: len(order)], cells[len(order) :]))
    return SimpleNamespace(session=session, first=first, again=again)


def assert_clean(cells: dict[str, Any]) -> None:
    """No errors, nothing on standard error, no warnings, and a value that says something in each cell."""
    for verb, cell in cells.items():
        assert error(cell) == "", verb
        assert printed(cell, "stderr") == "", verb
        text = printed(cell) + shown(cell)
        assert text.strip(), verb
        assert not re.search(r"(?i)warning|traceback|deprecat|\[transformers\]|\x1b", text), text


def test_plain_jupyter_makes_the_model(book: Book, twice: SimpleNamespace) -> None:
    assert_clean(twice.first)
    session = twice.session
    assert len(list((session / "instance_images").iterdir())) == 2
    assert len(list((session / "held_out_images").iterdir())) == 1
    assert (session / book.file).stat().st_size > book.least_bytes
    assert (session / "samples" / "pictures" / "0001" / "grid.png").is_file()
    assert "photo of mafka4 cup" in shown(twice.first["caption_photos"])


def test_pictures_are_shown_in_the_notebook(book: Book, twice: SimpleNamespace) -> None:
    for verb in ("add_photos", *book.stages, "generate"):
        last = twice.first[verb].outputs[-1]
        assert "image/png" in last.data, verb
        assert re.search(r"\S+\.png|steps", last.data["text/plain"])


def test_progress_is_a_line_with_figures(book: Book, twice: SimpleNamespace) -> None:
    for verb, label in (book.stages | {"generate": "pictures"}).items():
        lines = [line for line in printed(twice.first[verb]).splitlines() if line.strip()]
        bar = next(line for line in lines if line.lower().startswith(f"{label}: 100%"))
        assert re.search(r"steps/s|s/ steps", bar)
        assert "loss=" in bar or label == "pictures"
        assert len(lines) <= 3, lines


def test_every_cell_can_be_run_again(book: Book, twice: SimpleNamespace) -> None:
    assert_clean(twice.again)
    for verb in book.stages:
        assert "are done already" in printed(twice.again[verb])
    assert shown(twice.again["add_photos"]).startswith("0 photos added")
    assert len(list((twice.session / "instance_images").iterdir())) == 2
    checkpoints = sorted(path.name for path in (twice.session / "checkpoints").iterdir())
    assert checkpoints == [f"{verb.removeprefix('train_')}-000002" for verb in book.stages]


def test_the_plan_is_of_the_chosen_model_and_goes_into_the_recipe(twice: SimpleNamespace) -> None:
    if "plan_session" in twice.first:
        text = shown(twice.first["plan_session"])
        assert "fsd tiny base, LoRA training, 128 px" in text and "train the LoRA" in text
        assert "the session's recipe has them now" in text
        assert "keeps what its LoRA training began with" in shown(twice.again["plan_session"])
        assert load_recipe(twice.session / "recipe.json").optimizer == "adamw"


def test_pictures_with_and_without_what_was_trained(twice: SimpleNamespace) -> None:
    folder = twice.session / "samples" / "pictures" / "0001"
    names = [f"01-a-photo-of-mafka4-cup-{name}.png" for name in ("0", "0-untrained", "1", "1-untrained")]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "grid.png"])
    pictures = [(folder / name).read_bytes() for name in names]
    assert len(set(pictures)) == 4


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
    book: Book, form: dict[str, dict[str, Any]], photos: Path, tmp_path: Path
) -> None:
    machine, drive = tmp_path / "machine", tmp_path / "drive"
    machine.mkdir()
    before = SimpleNamespace(source=ON_COLAB.format(root=str(ROOT), mount=str(drive)))
    form = form | {"add_photos": form["add_photos"] | {"photos": ""}}
    unsaid, said = typed(book, form, "setup"), typed(book, form | {"setup": {"source": "fsd.whl"}}, "setup")
    cells = [before, *unsaid, *said, *typed(book, form, *book.order[1:], "look", "open_session", "add_photos")]
    _, refused, *cells = run_cells(cells, machine, [STAND_IN], COLAB_STAND_IN_UPLOADS=str(photos))
    first, again = dict(zip(book.order, cells, strict=False)), cells[len(book.order) :]
    assert_clean(first)
    assert "write in the field 'source' where it comes from" in error(refused)
    assert printed(first["setup"]) == 'pip install -q --no-deps "fsd.whl"\n'
    assert "on Colab" in shown(first["setup"]) and "nothing to install" in shown(first["setup"])
    told = printed(first["open_session"]).splitlines()
    assert told[0].startswith("Google asks you")
    assert told[1:3] == [f"Mounted at {drive}", f"session cup: {drive}/MyDrive/Fast-Dreambooth/Sessions/cup"]
    assert told[3].startswith("note: no identifier and no class word yet")
    assert (drive / "MyDrive" / "Fast-Dreambooth" / "Sessions" / "cup" / book.file).is_file()
    assert list(machine.iterdir()) == []
    assert_clean(dict(zip(["setup", "open_session", "add_photos"], again, strict=True)))
    assert "pip" not in printed(again[0])
    assert "Mounted" not in printed(again[1])
    assert shown(again[2]).startswith("0 photos added")


def test_cells_run_too_early_say_which_comes_first(book: Book, form: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    first_stage, *later = book.stages
    last_stage = [first_stage, *later][-1]
    save = book.order[-3]
    order = [
        *(("look", ""), *((verb, "open_session") for verb in book.order[2:]), ("open_session", "")),
        *((verb, "choose_base_model") for verb in ("plan_session", "generate") if verb in book.order),
        *((verb, "add_photos") for verb in ("caption_photos", *book.stages)),
        *((save, last_stage), ("clean_session", ""), ("add_photos", "")),
        *(("caption_photos", "choose_base_model"), (first_stage, "choose_base_model"), ("choose_base_model", "")),
        *((verb, first_stage) for verb in later),
        *((save, last_stage), ("look", ""), ("caption_photos", "")),
    ]
    cells = run_cells(typed(book, form, *(verb for verb, _ in order)), tmp_path, [ROOT])
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
    cells = typed(BOOKS[0], form, "look", *(verb for verb in BOOKS[0].order[1:7] if verb != "caption_photos"))

    def training() -> bool:
        figures = session / "logs" / "metrics.jsonl"
        return figures.is_file() and figures.stat().st_size > 0

    *_, skipped, stopped = run_cells(cells, tmp_path, [ROOT], training)
    assert "0 steps, nothing to train" in shown(skipped)
    (saved,) = (session / "checkpoints").iterdir()
    reached = int(saved.name[-6:])
    told = f"stopped after step {reached} of 100000; everything is saved; run the same command to go on"
    assert error(stopped).splitlines() == [told]
