"""The architecture: imports go down, no cycles, nothing heavy on `import fsd`."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import fsd

PACKAGE = Path(fsd.__file__).parent
FLOORS = {
    "pipeline": 5, "__main__": 5, "calling": 5, "command_line": 5, "verb_names": 5, "stage": 5, "job_file": 5, "demo": 5,
    "job_orders": 5, "job_reading": 5, "job_faults": 5, "job_room": 5, "job_done": 5, "pictures": 5, "planning": 5, "training": 5,
    "captioning": 5, "captioners": 3.5,
    "give_back": 5, "sharing": 5, "upkeep": 5, "models": 5, "serving": 5, "needs": 5, "naming": 5,
    "captioner": 4.5, "train": 4, "generate": 4, "webui": 4, "data": 3, "weights": 3, "runtime": 2,
    "families": 1, "recipe": 1, "recipe_groups": 1, "recipe_faults": 1, "presets": 1, "settings": 1, "errors": 1, "job": 1,
    "infotext": 1, "": 0,
}  # fmt: skip
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "bitsandbytes"}


@cache
def modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_text()
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(tree: ast.AST, known: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in inner}
    return found


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def test_imports_go_down_or_stay_in_the_room() -> None:
    wrong, trees = [], modules()
    for name, tree in trees.items():
        for other in imported(tree, set(trees)):
            if (
                other.split(".")[0] != "fsd"
                or room(other) == room(name)
                or FLOORS[room(name)] == FLOORS[room(other)] in (1, 5)
            ):
                continue
            if FLOORS[room(other)] >= FLOORS[room(name)]:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_there_are_no_import_cycles() -> None:
    trees = modules()
    at_import = {name: imported(ast.Module([n for n in tree.body if "Import" in type(n).__name__], []), set(trees)) & set(trees)
                 for name, tree in trees.items()}  # fmt: skip
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in at_import[name] - {"fsd"}:
                visit(other, (*path, name))
            done.add(name)

    for name in trees:
        visit(name, ())


def test_heavy_packages_are_imported_at_the_top_only_where_the_work_is() -> None:
    wrong = [
        name
        for name, tree in modules().items()
        if room(name) not in ("train", "generate", "captioner")
        for node in tree.body
        if {other.split(".")[0] for other in imported(node, set())} & HEAVY
        and isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert wrong == []


def test_what_a_verb_asks_before_it_starts_a_process_loads_nothing_heavy() -> None:
    trees = modules()
    known = set(trees)
    reached, left = set(), {"fsd.train.finished", "fsd.generate.class_images"}
    while left:
        name = left.pop()
        reached.add(name)
        at_import = imported(ast.Module([n for n in trees[name].body if "Import" in type(n).__name__], []), known)
        assert not {other.split(".")[0] for other in at_import} & HEAVY, name
        left |= (at_import & known) - reached
    assert "fsd.train.identity" in reached


def test_only_one_file_imports_google_colab() -> None:
    users = [
        name for name, tree in modules().items() if any("google.colab" in other for other in imported(tree, set()))
    ]
    assert users == ["fsd.runtime.colab"]


def test_the_command_line_loads_nothing_heavy() -> None:
    code = "import sys, fsd.__main__, fsd.calling, fsd.pipeline; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'fsd.pipeline'" in loaded
    for heavy in [*HEAVY, "numpy", "PIL", "cv2"]:
        assert f"'{heavy}'" not in loaded
