"""The caption editor in a real Chromium: in a notebook through Voila, whose kernel is killed in the middle, and in the studio.

Screenshots go to FSD_SCREENSHOTS if set. Skipped where there is no Chromium; the notebook's part where there is no Voila.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import browser
import nbformat
import pytest
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from fsd.data.crop import read_crops
from fsd.data.prompt import caption_path
from fsd.data.session import Session, create
from fsd.recipe import Recipe
from fsd.webui.server import free_port

if reason := browser.why_not():
    pytest.skip(reason, allow_module_level=True)

from playwright.sync_api import expect

expect.set_options(timeout=browser.WAIT_MS)
CAPTIONS = {"a.png": "a red cup, on a table", "b.png": "a red cup, in snow", "c.jpg": "a red, red cup, on a table"}
PAUSED = "new Promise(done => setTimeout(done, 1600))"
"""Comes true after every pause in typing that has begun before."""
CARDS = ".fsd-grid .fsd-card:visible"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Four photos, three with captions, and a tokenizer that takes words for tokens."""
    made, base = create(tmp_path, "cup"), tmp_path / "base"
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    (base / "tokenizer").mkdir(parents=True)
    words.save(str(base / "tokenizer" / "tokenizer.json"))
    made.save_recipe(Recipe(family="tiny", base_model=str(base), resolution_px=64, identifier="zwx", class_word="cup"))
    for place, name in enumerate((*CAPTIONS, "d.png")):
        photo = Image.new("RGB", (480, 360), (190, 60 * place, 130))
        ImageDraw.Draw(photo).ellipse((60 + 50 * place, 70, 260 + 50 * place, 270), fill=(250, 240, 80))
        photo.save(made.instance_images / name)
    for name, text in CAPTIONS.items():
        caption_path(made, name).write_text(text + "\n")
    return made


def said(session: Session) -> dict[str, str]:
    """What the caption files say."""
    return {path.stem: path.read_text().strip() for path in sorted(session.captions.glob("*.txt"))}


def card(page: Any, name: str) -> Any:
    return page.locator(CARDS, has_text=name)


def drag_corner(page: Any, shift_px: int) -> None:
    """Drag the lower right corner of the square inwards."""
    corner = page.locator(".fsd-corner.se")
    corner.scroll_into_view_if_needed()
    box = corner.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - shift_px, y - shift_px, steps=4)
    page.mouse.up()


def squares(session: Session, name: str) -> Any:
    crop = read_crops(session).get(name)
    return crop and (crop.by, crop.box)


# --- in a notebook ---------------------------------------------------------------------------------------------------


@contextmanager
def voila(session: Session, folder: Path) -> Iterator[tuple[str, Path]]:
    """(address of a notebook with the editor, the file into which its kernel writes its process) while it is served."""
    pid, port = folder / "kernel.pid", free_port()
    code = f"""import os, pathlib
from fsd.data.session import open_session_folder
from fsd.upkeep import edit_captions
pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))
edit_captions(open_session_folder({str(session.folder)!r}))"""
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), folder / "edit.ipynb")
    places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "voila", "edit.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
    with (folder / "voila.log").open("w+") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": places, "HF_HUB_OFFLINE": "1"}
        )
        try:
            yield f"http://127.0.0.1:{port}/", pid
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def opened_there(page: Any, address: str) -> None:
    """Open the notebook, as soon as it is served."""
    for _ in range(300):
        try:
            page.goto(address)
            break
        except Exception as fault:
            if "ERR_CONNECTION_REFUSED" not in str(fault):
                raise
            page.wait_for_timeout(100)
    page.locator(".fsd-card textarea").first.wait_for()


def test_in_a_notebook(session: Session, chromium: Any, shots: Path, tmp_path: Path) -> None:
    pytest.importorskip("voila")
    with voila(session, tmp_path) as (address, pid), browser.page_of(chromium, browser.DESK) as page:
        opened_there(page, address)
        expect(page.locator(CARDS)).to_have_count(4)
        expect(card(page, "d.png").locator("textarea")).to_have_attribute("placeholder", "photo of zwx cup")
        expect(card(page, "a.png").locator(".fsd-meter")).to_contain_text("6 / 75")
        first = card(page, "a.png").locator("textarea")
        first.fill("{identifier} " * 80)
        first.press("Control+Enter")
        expect(card(page, "a.png").locator(".fsd-over")).to_contain_text("80 / 75")
        expect(card(page, "a.png").locator(".fsd-lost")).to_contain_text("zwx zwx zwx zwx zwx")
        expect(card(page, "b.png").locator("textarea")).to_be_focused()
        page.screenshot(path=shots / "notebook-edited.png")
        page.get_by_role("button", name="Undo").click()
        expect(first).to_have_value(CAPTIONS["a.png"])

        page.locator(".fsd-find input").fill("red")
        page.locator(".fsd-find input").press("Enter")
        expect(page.locator(".fsd-tools")).to_contain_text("4 places in 3 captions")
        page.locator(".fsd-replace input").fill("blue")
        page.get_by_role("button", name="Replace all").click()
        expect(page.locator(".fsd-said")).to_contain_text("3 captions changed")
        assert said(session)["c"] == "a blue, blue cup, on a table"
        page.get_by_role("button", name="Undo").click()
        expect(card(page, "c.jpg").locator("textarea")).to_have_value(CAPTIONS["c.jpg"])
        page.locator(".fsd-find input").fill("(")
        page.locator(".fsd-find input").press("Enter")
        page.locator(".widget-checkbox input").check()
        expect(page.locator(".fsd-said .fsd-fault")).to_contain_text("cannot be used")
        page.get_by_role("button", name="on a table · 2").click()
        expect(page.locator(CARDS)).to_have_count(2)
        page.get_by_role("button", name="on a table · 2").click()
        expect(page.locator(CARDS)).to_have_count(4)

        card(page, "c.jpg").get_by_role("button", name="Crop").click()
        expect(page.locator(".fsd-crop img")).to_be_visible()
        drag_corner(page, 60)
        expect(page.locator(".fsd-said")).to_contain_text("The square of c.jpg is saved")
        by, box = squares(session, "c.jpg")
        assert by == "hand" and box[2] < 350
        page.locator(".fsd-crop .fsd-square").press("ArrowRight")
        expect(page.get_by_label("left")).not_to_have_value(str(box[0]))
        page.screenshot(path=shots / "notebook-crop.png")
        page.get_by_role("button", name="Done").click()
        card(page, "b.png").get_by_role("button", name="↻").click()
        expect(page.locator(".fsd-said")).to_contain_text("b.png is turned")
        assert Image.open(session.instance_images / "b.png").size == (360, 480)
        card(page, "c.jpg").get_by_role("button", name="Set aside").click()
        expect(page.locator(".fsd-shelf .fsd-card")).to_contain_text("c.jpg")
        assert not (session.instance_images / "c.jpg").exists() and list(said(session)) == ["a", "b"]
        last = card(page, "d.png").locator("textarea")
        last.fill("a cup of tea")
        last.blur()
        expect(card(page, "d.png").locator(".fsd-saved")).to_be_visible()
        page.screenshot(path=shots / "notebook-aside.png", full_page=True)

        before = said(session)
        os.kill(int(pid.read_text()), signal.SIGKILL)
        opened_there(page, address)
        assert said(session) == before == {"a": CAPTIONS["a.png"], "b": CAPTIONS["b.png"], "d": "a cup of tea"}
        expect(card(page, "d.png").locator("textarea")).to_have_value("a cup of tea")
        page.get_by_role("button", name="Undo").click()
        expect(card(page, "d.png").locator("textarea")).to_have_value("")
        page.get_by_role("button", name="Undo").click()
        expect(card(page, "c.jpg").locator("textarea")).to_have_value(CAPTIONS["c.jpg"])
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".fsd-said")).to_contain_text("Undone: b.png")
        assert Image.open(session.instance_images / "b.png").size == (480, 360) and len(said(session)) == 3


# --- in the studio ---------------------------------------------------------------------------------------------------


@contextmanager
def studio(root: Path, scratch: Path) -> Iterator[str]:
    """The address of a studio in this process."""
    import uvicorn
    from studio_stand_in import StandIn

    from fsd.webui.studio import __main__ as studios

    up = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            up.set()

    scratch.mkdir()
    listening = studios._listen(0)
    server = Server(uvicorn.Config(studios.build_app(StandIn(root), scratch), log_level="warning"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    serving.start()
    assert up.wait(60)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        serving.join(20)


def test_in_the_studio(session: Session, chromium: Any, shots: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    with studio(tmp_path, tmp_path / "scratch") as address, browser.page_of(chromium, browser.DESK) as page:
        page.goto(address)
        page.get_by_role("tab", name="Captions").click()
        expect(page.locator(CARDS)).to_have_count(4)
        expect(card(page, "a.png").locator(".fsd-meter")).to_contain_text("6 / 75")
        first = card(page, "a.png").locator("textarea")
        first.evaluate("field => { window.heard = 0; field.addEventListener('blur', () => window.heard++) }")
        first.fill("a red cup of tea")
        first.press("Control+Enter")
        expect(card(page, "a.png").locator(".fsd-saved")).to_be_visible()
        expect(card(page, "b.png").locator("textarea")).to_be_focused()
        assert said(session)["a"] == "a red cup of tea"
        page.evaluate(PAUSED)
        assert page.evaluate("window.heard") == 1  # as it was left; not once more, when it may show something else

        page.locator("#find textarea, #find input").press_sequentially("red")
        page.locator("#find textarea, #find input").press("Enter")
        page.locator("#replace textarea, #replace input").fill("blue")
        expect(page.locator("#found")).to_contain_text("4 places in 3 captions")
        page.locator("#replace-all").click()
        expect(page.locator("#said")).to_contain_text("3 captions changed")
        expect(first).to_have_value("a blue cup of tea")
        page.screenshot(path=shots / "studio-captions.png")
        page.locator("#undo").click()
        expect(first).to_have_value("a red cup of tea")
        assert said(session)["c"] == CAPTIONS["c.jpg"]

        card(page, "c.jpg").get_by_role("button", name="Crop").click()
        expect(page.locator(".fsd-crop img")).to_be_visible()
        drag_corner(page, 60)
        expect(page.locator("#said")).to_contain_text("The square of c.jpg is saved")
        assert squares(session, "c.jpg")[0] == "hand"
        page.screenshot(path=shots / "studio-crop.png")
        page.locator("#crop-done").click()
        card(page, "b.png").get_by_role("button", name="↻").click()
        expect(page.locator("#said")).to_contain_text("b.png is turned")
        card(page, "c.jpg").get_by_role("button", name="Set aside").click()
        expect(page.locator(CARDS)).to_have_count(3)
        last = card(page, "d.png").locator("textarea")
        last.fill("a cup")
        expect(card(page, "d.png").locator(".fsd-saved")).to_be_visible()
        expect(last).to_be_focused()
        page.locator("#filter textarea, #filter input").fill("snow")
        expect(page.locator(CARDS)).to_have_count(1)

        page.reload()
        page.get_by_role("tab", name="Captions").click()
        expect(page.locator(CARDS)).to_have_count(3)
        assert said(session) == {"a": "a red cup of tea", "b": CAPTIONS["b.png"], "d": "a cup"}
        page.screenshot(path=shots / "studio-aside.png", full_page=True)
        page.locator("#undo").click()
        expect(last).to_have_value("")
        page.locator("#undo").click()
        expect(card(page, "c.jpg").locator("textarea")).to_have_value(CAPTIONS["c.jpg"])
        assert page.asked == [] and browser.overflow_px(page) == 0
