"""The README says what is: commands, verbs, files."""

from __future__ import annotations

import re
from pathlib import Path

import fsd.command_line
from fsd import pipeline

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_are_one_line_each_and_what_ci_runs() -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert all(block.count("\n") == 1 for block in blocks)
    assert "fsd demo" in blocks[0]
    assert "pytest" in blocks[1]
    assert "README.md" in (ROOT / ".ci/run").read_text()


def test_every_verb_it_names_exists() -> None:
    named = {word.replace("webui ", "webui-").replace("controlnet ", "controlnet-")
             for word in re.findall(r"(?:^|`)fsd ((?:(?:webui|controlnet) )?[a-z-]+)", README, flags=re.MULTILINE)}  # fmt: skip
    assert len(named) > 8
    assert named <= set(fsd.command_line.verbs())


def test_links_and_pictures_are_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).is_file(), link


def test_the_tree_is_the_real_one() -> None:
    block = README.split("## Where things are\n```\n")[1].split("```")[0]
    for line in block.splitlines():
        names = re.split(r"\s{2,}", line.strip())
        inner = ROOT / "fsd" if line.startswith("  ") else ROOT
        places = [name for name in names if name.endswith(("/", ".py"))]
        assert places, line
        for place in places:
            assert (inner / place).exists(), place


def test_the_changelog_is_at_the_version() -> None:
    assert f"## {fsd.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_first_page_of_the_package_is_the_order_of_the_work() -> None:
    story = [
        "open_session",
        "choose_base_model",
        "add_photos",
        "caption_photos",
        "train_text_encoder",
        "train_unet",
        "save_ckpt",
    ]
    assert [verb for verb in pipeline.__all__ if verb in story] == story
